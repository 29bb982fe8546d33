//! What agents of a newer version send.

use provost_aggregator::store::batch::{Batch, ItemBody};
use provost_model::{ClusterId, Digest, InstanceId};
use provost_proto::batch::Item;
use provost_proto::v1::record::Body;
use provost_proto::{Message as _, batch, envelope, v1};
use provost_trust::chain::{leaf, next};
use provost_trust::dsse::payload_type;
use provost_trust::{Envelope, KeyPair};

use crate::chain::{Chain, activated};

/// A field that no message of this version has, as a newer one would write it.
const UNKNOWN_FIELD: [u8; 3] = [0xf8, 0x07, 0x01];

/// Scenario: a newer agent's policy set has a field more. Guarantee: the set is known by the digest of the bytes that came, by
/// which the agent's records name it.
#[test]
fn a_policy_set_is_known_by_the_bytes_that_came() {
    let cluster = ClusterId::from_bytes([1; 16]);
    let instance = InstanceId::from_bytes([2; 16]);
    let mut chain = Chain::new(cluster, instance, KeyPair::generate().unwrap());
    let sent = chain.batch(vec![activated()]);
    let sent = batch::decode(&envelope::decode(&sent.envelope).unwrap().payload).unwrap();
    let Item::Record(record) = &sent.items[0] else { panic!("a record") };
    let mut record = v1::Record::decode(record.clone()).unwrap();
    let Some(Body::Bundle(bundle)) = &mut record.body else { panic!("a Bundle record") };
    let longer = [&bundle.policy_set.take().unwrap()[..], &UNKNOWN_FIELD].concat();
    bundle.policy_set = Some(longer.clone().into());
    let record = record.encode_to_vec();

    let head = next(&sent.prev_head, &leaf(&record));
    let items = vec![Item::Record(record.into())];
    let payload = batch::encode(&batch::Batch { head, items, ..sent }).unwrap();
    let envelope = Envelope::sign(payload_type::BATCH, payload, &[&chain.key]);
    let taken = Batch::decode(envelope::encode(envelope)).unwrap();
    let ItemBody::Record { policy_set: Some(set), .. } = &taken.items[0].body else {
        panic!("it carries a set")
    };
    assert_eq!((set.digest, &set.encoded[..]), (Digest::of(&longer), &longer[..]));
}
