//! A hand that has a mouse, and types only where it has clicked; and what a file is chosen with.

use std::{fs, path::PathBuf, time::Duration};

use actix_web::rt::time::sleep;
use serde_json::json;

use crate::browser::Browser;

impl Browser {
    /// Clicks on it. What was put in its place meanwhile is clicked on instead, as a human does.
    pub async fn click(&self, css: &str) {
        loop {
            match self.find(css).await.click().await {
                Ok(()) => return,
                Err(error) if error.is_stale_element_reference() => {}
                Err(error) => panic!("{css}: {error}"),
            }
        }
    }

    /// Until this is dropped whoever wants a file is heard here; no window of the system opens.
    pub async fn intercept_files(&self) {
        self.command("Page.enable", json!({})).await;
        self.command("Page.setInterceptFileChooserDialog", json!({ "enabled": true })).await;
    }

    /// Chooses a file of this name in the window that the page has asked the system to open.
    pub async fn choose_file(&self, name: &str, bytes: &[u8]) {
        let file: PathBuf = self.folder().join(name);
        fs::write(&file, bytes).expect("a file");
        let asked_for = loop {
            let events = self.events().await;
            let opened = events.iter().find(|event| event["method"] == "Page.fileChooserOpened");
            if let Some(opened) = opened {
                break opened["params"]["backendNodeId"].clone();
            }
            sleep(Duration::from_millis(20)).await;
        };
        let chosen = json!({ "files": [file], "backendNodeId": asked_for });
        self.command("DOM.setFileInputFiles", chosen).await;
        self.until("!document.querySelector('form.answer [type=submit]').disabled").await;
    }
}
