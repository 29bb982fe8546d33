//! Offers that wait: only the newest counts, and one that comes ends the work on the one before.

use tokio::sync::mpsc;

use super::Offer;

pub struct Queue {
    offers: mpsc::Receiver<Offer>,
    waiting: Option<Offer>,
}

impl Queue {
    pub const fn new(offers: mpsc::Receiver<Offer>) -> Self {
        Self { offers, waiting: None }
    }

    /// None: nobody offers any more.
    pub async fn next(&mut self) -> Option<Offer> {
        let mut next = match self.waiting.take() {
            Some(offer) => offer,
            None => self.offers.recv().await?,
        };
        while let Ok(newer) = self.offers.try_recv() {
            next = newer;
        }
        Some(next)
    }

    /// Waits until another offer is here. It stays for [`Self::next`].
    pub async fn newer(&mut self) {
        if self.waiting.is_none() {
            match self.offers.recv().await {
                Some(offer) => self.waiting = Some(offer),
                // Nobody offers any more: what is worked on stays the newest.
                None => std::future::pending().await,
            }
        }
    }
}
