//! A hand that has a keyboard alone. Wherever it comes, it must be seen where it is.

use fantoccini::{
    actions::{InputSource as _, KeyAction, KeyActions},
    key::Key,
};
use serde_json::Value;

use crate::browser::Browser;

/// What is focused: how it is found in the page, whether one sees that it is, and whether one sees
/// it at all.
const FOCUSED: &str = "(() => {
    const at = document.activeElement, style = getComputedStyle(at), place = at.getBoundingClientRect();
    return {
        html: at.outerHTML.slice(0, 200),
        isPage: at === document.body || at === document.documentElement,
        isMarked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        isInView: place.width > 0 && place.bottom > 0 && place.top < innerHeight && place.right > 0 && place.left < innerWidth,
    };
})()";

impl Browser {
    /// Presses a key.
    pub async fn press(&self, key: impl Into<char>) {
        self.press_with(&[], key).await;
    }

    /// Presses a key while others are held.
    pub async fn press_with(&self, held: &[Key], key: impl Into<char>) {
        let held: Vec<char> = held.iter().map(|key| (*key).into()).collect();
        let key = key.into();
        let down = held.iter().chain([&key]).map(|value| KeyAction::Down { value: *value });
        let up = [&key].into_iter().chain(held.iter().rev()).map(|value| KeyAction::Up { value: *value });
        self.act(down.chain(up)).await;
    }

    /// Types a text where the focus is; the end of a line is the key Enter.
    pub async fn type_text(&self, text: &str) {
        let keys = text.chars().map(|key| if key == '\n' { Key::Enter.into() } else { key });
        self.act(keys.flat_map(|value| [KeyAction::Down { value }, KeyAction::Up { value }])).await;
    }

    /// Types a text in place of what stands there.
    pub async fn type_over(&self, text: &str) {
        self.press_with(&[Key::Control], 'a').await;
        self.type_text(text).await;
    }

    async fn act(&self, keys: impl Iterator<Item = KeyAction>) {
        let actions = keys.fold(KeyActions::new("keyboard".to_owned()), KeyActions::then);
        self.client.perform_actions(actions).await.expect("keys");
    }

    /// Goes on with Tab until it is there.
    pub async fn tab_to(&self, css: &str) {
        self.go_to(css, &[]).await;
    }

    /// Goes back with Shift and Tab until it is there.
    pub async fn tab_back_to(&self, css: &str) {
        self.go_to(css, &[Key::Shift]).await;
    }

    async fn go_to(&self, css: &str, held: &[Key]) {
        for _ in 0..100 {
            if self.is_at(css).await {
                return;
            }
            self.step(held).await;
        }
        panic!("no Tab leads to {css}");
    }

    /// Goes on with Tab.
    pub async fn tab(&self) {
        self.step(&[]).await;
    }

    async fn step(&self, held: &[Key]) {
        self.press_with(held, Key::Tab).await;
        self.assert_seen().await;
    }

    /// Whether this is focused.
    pub async fn is_at(&self, css: &str) -> bool {
        self.value(&format!("document.activeElement.matches({css:?})")).await == Value::Bool(true)
    }

    /// One sees what is focused.
    async fn assert_seen(&self) {
        let focused = self.value(FOCUSED).await;
        let is_seen =
            focused["isPage"] == true || (focused["isMarked"] == true && focused["isInView"] == true);
        assert!(is_seen, "{focused}");
    }
}
