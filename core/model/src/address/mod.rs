//! Addresses in virtual networks: their types, who holds which, and which is given next.
//!
//! Nothing is counted or marked: who holds an address follows from the resources that hold it, so an address is free
//! again in the commit in which its holder is gone, and not before.

mod allocation;
mod cidr;
mod holder;
mod mac;
mod range;
mod schema;

pub(crate) use allocation::{Taken, take, take_mac, take_one};
pub use cidr::{Cidr, CidrError};
pub(crate) use holder::holder_of_nic;
pub use holder::holders;
pub use mac::{Mac, MacError};
pub use range::{IpRange, IpRangeError};
pub(crate) use schema::Ip;
