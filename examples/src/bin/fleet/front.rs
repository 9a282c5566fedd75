//! One address for the whole fleet: each connection goes to the next process that takes it.
//!
//! A load balancer does the same, and more.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::rt::{
    self,
    net::{TcpListener, TcpStream},
};
use tokio::io::copy_bidirectional;

/// The processes that connections go to, in turn.
#[derive(Clone, Default)]
pub struct Front(Arc<Mutex<Turns>>);

#[derive(Default)]
struct Turns {
    members: Vec<SocketAddr>,
    next: usize,
}

impl Front {
    /// Listens, for as long as this thread runs.
    pub async fn listen(port: u16) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (front, address) = (Self::default(), listener.local_addr()?);
        rt::spawn(front.clone().accept(listener));
        Ok((front, address))
    }

    /// Sets which processes there are. One that is not there is passed over.
    pub fn over(&self, members: Vec<SocketAddr>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).members = members;
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            // One that was gone before it was accepted is none.
            let Ok((mut client, _)) = listener.accept().await else { continue };
            let members = self.in_turn();
            rt::spawn(async move {
                for member in members {
                    if let Ok(mut member) = TcpStream::connect(member).await {
                        // A connection that breaks is seen at both ends.
                        let _ = copy_bidirectional(&mut client, &mut member).await;
                        return;
                    }
                }
            });
        }
    }

    /// All of them, from the one whose turn it is.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.next = turns.next.wrapping_add(1);
        let mut members = turns.members.clone();
        let first = turns.next.checked_rem(members.len()).unwrap_or_default();
        members.rotate_left(first);
        members
    }
}
