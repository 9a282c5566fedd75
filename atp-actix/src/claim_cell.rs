//! Where the claim of a delivery stands, from the extractors to the completion.

use std::{
    any::type_name,
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use crate::store::{Claimed, CompletedDecision, StoreError};

/// The verbs of a store, for the claim of one delivery.
pub(crate) trait Claims<T> {
    fn claim(&self) -> LocalBoxFuture<'_, Result<Claimed, StoreError>>;

    fn begin(&self) -> LocalBoxFuture<'_, Result<Claimed<T>, StoreError>>;

    fn resume(&self) -> LocalBoxFuture<'_, Result<T, StoreError>>;
}

/// One a delivery, in the request's extensions. The claim is made with the transaction, if an
/// extractor asks for that, else right before the handler runs.
pub(crate) struct ClaimCell<T> {
    claims: Box<dyn Claims<T>>,
    state: RefCell<State<T>>,
    /// Whether it is claimed outside of a transaction.
    has_claim: Cell<bool>,
    /// Told when it is being claimed, or was with the transaction.
    pub(crate) claimed: Notify,
    /// Told when the transaction was opened.
    pub(crate) opened: Notify,
}

enum State<T> {
    /// Nobody has asked for the transaction.
    Idle,
    /// It is being opened.
    Opening,
    /// The handler has it.
    Out,
    /// The handler gave it back.
    Back(T),
    /// What was asked for did not come, or must not have been asked for: nothing can be completed.
    Spoilt(AfterHandler<T>),
    /// The handler has ended.
    Over,
}

/// What is left after the handler has ended.
pub(crate) enum AfterHandler<T> {
    /// The handler had no transaction.
    Nothing,
    /// The handler worked in this transaction, and the claim is completed in it.
    Transaction(T),
    /// Another delivery is being handled, so the handler did not run.
    Running,
    /// Another delivery was handled meanwhile, so the handler did not run.
    Completed(CompletedDecision),
    /// The store failed, so the handler did not run.
    Failed(StoreError),
    /// The handler did something to its transaction, or lost its claim before it asked for that.
    Unclean(StoreError),
}

impl<T> ClaimCell<T> {
    pub(crate) fn new(claims: impl Claims<T> + 'static) -> Rc<Self> {
        Rc::new(Self {
            claims: Box::new(claims),
            state: RefCell::new(State::Idle),
            has_claim: Cell::new(false),
            claimed: Notify::new(),
            opened: Notify::new(),
        })
    }

    /// Whether there is a claim to give back.
    pub(crate) fn has_claim(&self) -> bool {
        self.has_claim.get()
    }

    /// Opens the transaction and hands it out. A second one would wait for the first for ever, so
    /// it is refused and spoils both.
    pub(crate) async fn take(&self) -> Result<T, StoreError> {
        if !matches!(self.state.replace(State::Opening), State::Idle) {
            let twice =
                || StoreError::Unclean("a handler took `Transaction` twice: take it once and pass it on");
            self.spoil(AfterHandler::Unclean(twice()));
            return Err(twice());
        }
        let _given_up = Opening(self);
        let transaction = if self.has_claim.get() {
            self.claims.resume().await.map_err(|error| {
                self.spoil(AfterHandler::Unclean(error));
                StoreError::Fenced
            })?
        } else {
            self.unless_lost(self.claims.begin().await)?
        };
        // Somebody may have asked a second time meanwhile.
        if !matches!(*self.state.borrow(), State::Opening) {
            return Err(StoreError::Fenced);
        }
        self.state.replace(State::Out);
        self.claimed.notify_one();
        self.opened.notify_one();
        Ok(transaction)
    }

    fn spoil(&self, left: AfterHandler<T>) {
        self.state.replace(State::Spoilt(left));
    }

    /// Notes who has the claim if it is not ours. Who asked is told that much; the cell keeps the
    /// whole.
    fn unless_lost<R>(&self, claimed: Result<Claimed<R>, StoreError>) -> Result<R, StoreError> {
        self.spoil(match claimed {
            Ok(Claimed::Started(started)) => return Ok(started),
            Ok(Claimed::Running) => AfterHandler::Running,
            Ok(Claimed::Completed(completed)) => AfterHandler::Completed(completed),
            Err(error) => AfterHandler::Failed(error),
        });
        Err(StoreError::Fenced)
    }

    pub(crate) fn give_back(&self, transaction: T) {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Out) {
            *state = State::Back(transaction);
        }
    }

    /// After the handler has ended: what there is to complete.
    pub(crate) fn after_handler(&self) -> AfterHandler<T> {
        match mem::replace(&mut *self.state.borrow_mut(), State::Over) {
            State::Idle | State::Opening | State::Over => AfterHandler::Nothing,
            State::Back(transaction) => AfterHandler::Transaction(transaction),
            State::Out => AfterHandler::Unclean(StoreError::Unclean(
                "the handler kept it: drop `Transaction` before it returns",
            )),
            State::Spoilt(left) => left,
        }
    }
}

/// Who asked for the transaction and did not wait for it may ask again.
struct Opening<'a, T>(&'a ClaimCell<T>);

impl<T> Drop for Opening<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        if matches!(*state, State::Opening) {
            *state = State::Idle;
        }
    }
}

/// A cell, whatever transactions its store has.
pub(crate) trait AnyClaimCell {
    /// Whether the claim is ours, right before the handler runs.
    fn is_ours(self: Rc<Self>) -> LocalBoxFuture<'static, bool>;

    /// The type of the store's transactions, for messages.
    fn transaction_type(&self) -> &'static str;
}

impl<T: 'static> AnyClaimCell for ClaimCell<T> {
    fn transaction_type(&self) -> &'static str {
        type_name::<T>()
    }

    fn is_ours(self: Rc<Self>) -> LocalBoxFuture<'static, bool> {
        Box::pin(async move {
            if !matches!(*self.state.borrow(), State::Idle) {
                return matches!(*self.state.borrow(), State::Out | State::Back(_));
            }
            // The lease may begin before the claim is there.
            self.claimed.notify_one();
            let is_ours = self.unless_lost(self.claims.claim().await).is_ok();
            self.has_claim.set(is_ours);
            is_ours
        })
    }
}
