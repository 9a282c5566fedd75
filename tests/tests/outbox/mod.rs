//! What leaves the service.

mod marking;
