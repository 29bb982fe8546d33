//! The report chain: every record of an epoch is bound to all before it.
//!
//! `leaf = SHA-256(0x00, record)`, `next = SHA-256(0x01, head, leaf)`; the prefixes keep a leaf from
//! being read as a head. A chain starts at [`GENESIS`] in each (cluster, instance, epoch). Records
//! are hashed as the bytes that were encoded once.

use provost_model::Digest;

/// The head of an empty chain.
pub const GENESIS: Digest = Digest::from_bytes([0; 32]);

#[must_use]
pub fn leaf(record: &[u8]) -> Digest {
    Digest::of_parts(&[&[0x00], record])
}

#[must_use]
pub fn next(head: &Digest, leaf: &Digest) -> Digest {
    Digest::of_parts(&[&[0x01], head.as_bytes(), leaf.as_bytes()])
}

/// The head after `records`, in order.
#[must_use]
pub fn extend<'a>(head: Digest, records: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    records.into_iter().fold(head, |head, record| next(&head, &leaf(record)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden() {
        let head = extend(GENESIS, [&b"one"[..], b"two"]);
        assert_eq!(
            head.to_string(),
            "c00591f8f1d135542cab371cbf0a2e7797bdbcd118ae32eb39f49da99dd8c4f6"
        );
    }

    proptest! {
        #[test]
        fn any_change_of_order_content_or_number_changes_the_head(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let head = |records: &[Vec<u8>]| extend(GENESIS, records.iter().map(Vec::as_slice));
            let at = at.index(records.len());
            let whole = head(&records);

            let mut altered = records.clone();
            altered[at].push(1);
            prop_assert_ne!(whole, head(&altered));

            let mut shorter = records.clone();
            shorter.remove(at);
            prop_assert_ne!(whole, head(&shorter));

            let mut swapped = records.clone();
            swapped.swap(0, at);
            prop_assert_eq!(swapped == records, whole == head(&swapped));
        }

        #[test]
        fn a_chain_may_be_extended_in_parts(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..8),
            at in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let (first, second) = slices.split_at(at.index(slices.len() + 1));
            let in_parts = extend(extend(GENESIS, first.iter().copied()), second.iter().copied());
            prop_assert_eq!(in_parts, extend(GENESIS, slices));
        }
    }
}
