//! All of it: the database, the stream, two members, and the one address in front of them.

use std::{
    env, fs,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use atp_actix::{store::Outbox as _, test::Sender};
use atp_examples::Failure;

use crate::{
    bus::Bus,
    child::{Member, Start},
    front::Front,
    place::Place,
    servers::Servers,
};

/// A fleet that runs.
pub struct Fleet {
    pub place: Place,
    pub bus: Bus,
    /// Signs as the ATP server does that knows this fleet.
    pub sender: Sender,
    /// Where answers are posted.
    pub address: SocketAddr,
    pub members: [Member; 2],
    front: Front,
    start: Start,
}

impl Fleet {
    /// Makes a database and a stream that nobody else has, and starts two members.
    pub async fn start(servers: &Servers) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let name = format!("fleet_{}_{now}", process::id());
        let place = Place::make(&servers.postgres, &name).await?;
        let bus = Bus::make(&servers.nats, &name).await?;
        // Known to nobody but the members, which listen on this machine alone.
        let secret = format!("whsec_{:016x}{:016x}", at_random(), at_random());
        let log = env::temp_dir().join(format!("{name}.log"));
        let start = Start { database: place.url(), bus: name, secret, log };
        let members = [start.member("one")?, start.member("two")?];
        let sender = Sender::new(&start.secret);
        let (front, address) = Front::listen(0).await?;
        let fleet = Self { place, bus, sender, address, members, front, start };
        fleet.spread();
        Ok(fleet)
    }

    /// Starts a member again that has ended.
    pub fn start_again(&mut self, nth: usize) -> Result<(), Failure> {
        self.members[nth] = self.start.member(self.members[nth].name)?;
        self.spread();
        Ok(())
    }

    fn spread(&self) {
        self.front.over(self.members.iter().map(|member| member.address).collect());
    }

    /// How many events wait to be sent, and how many are parked.
    pub async fn waiting(&self) -> Result<(u64, u64), Failure> {
        let lag = self.place.store.lag().await?;
        Ok((lag.iter().map(|lag| lag.waiting).sum(), lag.iter().map(|lag| lag.parked).sum()))
    }

    /// What the members logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.start.log).unwrap_or_default()
    }

    /// Ends the members, and leaves nothing behind.
    pub async fn end(self) -> Result<(), Failure> {
        drop(self.members);
        fs::remove_file(&self.start.log)?;
        self.bus.drop().await?;
        self.place.drop().await
    }
}

/// The hasher of a map is seeded by the operating system.
fn at_random() -> u64 {
    RandomState::new().hash_one(())
}
