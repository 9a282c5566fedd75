//! Which paths of an app have a webhook.

use std::{
    any::Any,
    cell::RefCell,
    rc::{Rc, Weak},
};

use actix_web::dev::AppService;

thread_local! {
    /// Each worker builds its own app, so each thread knows of its own.
    static MOUNTED: RefCell<Vec<(Weak<dyn Any>, String)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a webhook is mounted at a path, and says whether another is there already, which
/// would get all that comes.
///
/// Within a scope nobody can tell, since the scope's own path is not known.
pub(crate) fn is_second_at(path: &str, config: &AppService) -> bool {
    if !config.is_root() {
        return false;
    }
    // What answers where nothing is mounted is the one thing that all services of an app share, and
    // those of no other.
    let app: Rc<dyn Any> = config.default_service();
    MOUNTED.with_borrow_mut(|mounted| {
        mounted.retain(|(app, _)| app.strong_count() > 0);
        let is_there = mounted
            .iter()
            .any(|(other, at)| std::ptr::addr_eq(other.as_ptr(), Rc::as_ptr(&app)) && at == path);
        mounted.push((Rc::downgrade(&app), path.to_owned()));
        is_there
    })
}
