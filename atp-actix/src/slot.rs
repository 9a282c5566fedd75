//! Where the claim of a delivery stands, from the extractors to the completion.

use std::{cell::RefCell, mem, rc::Rc};

use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use crate::store::{Claimed, Completed, StoreError};

type Take<T> = Box<dyn Fn() -> LocalBoxFuture<'static, Result<Claimed<T>, StoreError>>>;

/// One a delivery, in the request's extensions. The claim is made with the transaction, if the handler asks for that, else
/// right before the handler runs.
pub(crate) struct Slot<T> {
    begin: Take<T>,
    claim: Take<()>,
    state: RefCell<State<T>>,
    /// Told when it is claimed.
    pub(crate) claimed: Notify,
}

enum State<T> {
    /// Nothing is claimed.
    Idle,
    /// It is claimed, and completed in no transaction.
    Claimed,
    /// The handler has the transaction, or it is being opened.
    Out,
    /// The handler gave it back.
    Back(T),
    /// It cannot be completed.
    Spoilt(Left<T>),
    /// The handler has ended.
    Over,
}

/// What is left after the handler has ended.
pub(crate) enum Left<T> {
    /// No claim.
    Nothing,
    /// A claim.
    Claim,
    /// A claim, to be completed in this.
    Transaction(T),
    /// Somebody else is at it.
    Running,
    /// It is over.
    Completed(Completed),
    /// The store failed.
    Failed(StoreError),
    /// The handler did something to its transaction.
    Unclean(StoreError),
}

impl<T> Slot<T> {
    pub(crate) fn new(begin: Take<T>, claim: Take<()>) -> Rc<Self> {
        Rc::new(Self { begin, claim, state: RefCell::new(State::Idle), claimed: Notify::new() })
    }

    /// Opens the transaction and hands it out. A second one would wait for the first for ever, so it is refused and spoils
    /// both.
    pub(crate) async fn take(&self) -> Result<T, StoreError> {
        if !matches!(self.state.replace(State::Out), State::Idle) {
            let twice =
                || StoreError::Unclean("a handler took `Transaction` twice: take it once and pass it on");
            self.state.replace(State::Spoilt(Left::Unclean(twice())));
            return Err(twice());
        }
        let transaction = self.unless_lost((self.begin)().await)?;
        self.claimed.notify_one();
        Ok(transaction)
    }

    /// Whether the handler has a transaction, or had one.
    pub(crate) fn has_transaction(&self) -> bool {
        matches!(*self.state.borrow(), State::Out | State::Back(_))
    }

    /// Notes who has the claim if it is not ours. Who asked is told that much; the slot keeps the whole.
    fn unless_lost<R>(&self, claimed: Result<Claimed<R>, StoreError>) -> Result<R, StoreError> {
        let left = match claimed {
            Ok(Claimed::Started(started)) => return Ok(started),
            Ok(Claimed::Running) => Left::Running,
            Ok(Claimed::Completed(completed)) => Left::Completed(completed),
            Err(error) => Left::Failed(error),
        };
        self.state.replace(State::Spoilt(left));
        Err(StoreError::Fenced)
    }

    pub(crate) fn give_back(&self, transaction: T) {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Out) {
            *state = State::Back(transaction);
        }
    }

    /// After the handler has ended: what there is to complete.
    pub(crate) fn left(&self) -> Left<T> {
        match mem::replace(&mut *self.state.borrow_mut(), State::Over) {
            State::Idle | State::Over => Left::Nothing,
            State::Claimed => Left::Claim,
            State::Back(transaction) => Left::Transaction(transaction),
            State::Out => Left::Unclean(StoreError::Unclean(
                "the handler kept it: drop `Transaction` before it returns",
            )),
            State::Spoilt(left) => left,
        }
    }
}

/// What a handler waits for, whatever transactions the store has.
pub(crate) trait Claiming {
    /// Whether the claim is ours, right before the handler runs.
    fn is_ours(self: Rc<Self>) -> LocalBoxFuture<'static, bool>;
}

impl<T: 'static> Claiming for Slot<T> {
    fn is_ours(self: Rc<Self>) -> LocalBoxFuture<'static, bool> {
        Box::pin(async move {
            if !matches!(*self.state.borrow(), State::Idle) {
                return self.has_transaction();
            }
            let is_ours = self.unless_lost((self.claim)().await).is_ok();
            if is_ours {
                self.state.replace(State::Claimed);
                self.claimed.notify_one();
            }
            is_ours
        })
    }
}
