//! Where a handler's transaction waits: the store opens it, the handler borrows it, the decision completes in it.

use std::{cell::RefCell, mem, rc::Rc};

use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use crate::store::StoreError;

type Begin<T> = Box<dyn Fn() -> LocalBoxFuture<'static, Result<T, StoreError>>>;

/// One a delivery, in the request's extensions.
pub(crate) struct Slot<T> {
    begin: Begin<T>,
    state: RefCell<State<T>>,
    /// Told when the transaction was opened.
    pub(crate) opened: Notify,
}

enum State<T> {
    /// Nobody asked for it.
    Idle,
    /// The handler has it, or it is being opened.
    Out,
    /// The handler gave it back.
    Back(T),
    /// It must not be committed.
    Spoilt(StoreError),
    /// The handler has ended.
    Over,
}

impl<T> Slot<T> {
    pub(crate) fn new(begin: Begin<T>) -> Rc<Self> {
        Rc::new(Self { begin, state: RefCell::new(State::Idle), opened: Notify::new() })
    }

    /// Opens the transaction and hands it out. A second one would wait for the first for ever, so it is refused and spoils
    /// both.
    pub(crate) async fn take(&self) -> Result<T, StoreError> {
        let twice = || StoreError::Unclean("a handler took `Transaction` twice: take it once and pass it on");
        if !matches!(self.state.replace(State::Out), State::Idle) {
            self.state.replace(State::Spoilt(twice()));
            return Err(twice());
        }
        match (self.begin)().await {
            Ok(transaction) => {
                self.opened.notify_one();
                Ok(transaction)
            }
            Err(error) => {
                let told = match &error {
                    StoreError::Fenced => StoreError::Fenced,
                    error => StoreError::Backend(error.to_string().into()),
                };
                self.state.replace(State::Spoilt(error));
                Err(told)
            }
        }
    }

    pub(crate) fn give_back(&self, transaction: T) {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Out) {
            *state = State::Back(transaction);
        }
    }

    /// After the handler has ended: the transaction, if it asked for one and gave it back.
    pub(crate) fn left(&self) -> Result<Option<T>, StoreError> {
        match mem::replace(&mut *self.state.borrow_mut(), State::Over) {
            State::Idle | State::Over => Ok(None),
            State::Back(transaction) => Ok(Some(transaction)),
            State::Out => {
                Err(StoreError::Unclean("the handler kept it: drop `Transaction` before it returns"))
            }
            State::Spoilt(error) => Err(error),
        }
    }
}
