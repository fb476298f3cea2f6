//! Relays: a client's connection and one to an application, which pass frames to each other.

mod answered;
mod applications;
mod health;
pub(crate) mod opening;

pub(crate) use opening::{
    Hop, Identity, NotWaiting, Offer, OpenedRelay, PlainClient, PlainRoute, Proxying, Relay,
    Unopened, Waiting,
};
