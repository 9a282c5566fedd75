//! A Chromium that a test drives, gone with the test.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use fantoccini::{Client, ClientBuilder, Locator, elements::Element, wd::WebDriverCompatibleCommand};
use serde_json::{Value, json};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a profile of its own.
pub struct Browser {
    pub client: Client,
    driver: Driver,
}

impl Browser {
    /// Starts one. A machine without the programs skips, and says so; continuous integration must not.
    pub async fn start() -> Option<Self> {
        if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|name| !is_there(name)) {
            assert!(
                env::var_os("CI").is_none(),
                "{missing} is not installed, and CI must not skip what it proves"
            );
            eprintln!("SKIPPED: {missing} is not installed, so no page was opened");
            return None;
        }
        let driver = Driver::start();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", driver.folder.join("profile").display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let url = format!("http://127.0.0.1:{}", driver.port);
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .expect("a session");
        Some(Self { client, driver })
    }

    /// Where a test may leave files, until the browser is gone.
    pub fn folder(&self) -> &Path {
        &self.driver.folder
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect(url);
    }

    /// What an expression is worth on the page.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression};");
        self.client.execute(&script, Vec::new()).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// The text that a human sees there.
    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect(css)
    }

    pub async fn find(&self, css: &str) -> Element {
        let found = self.client.find(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Waits until an expression is true on the page. Whatever page that is: it may be on its way.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression});");
        let patience = Instant::now() + PATIENCE;
        loop {
            let found = self.client.execute(&script, Vec::new()).await;
            if matches!(found, Ok(Value::Bool(true))) {
                return;
            }
            if Instant::now() > patience {
                let shown = self.client.execute("return document.body.innerText;", Vec::new()).await;
                panic!(
                    "never {expression}: {found:?}\n{}",
                    shown.unwrap_or_default().as_str().unwrap_or_default()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a place shows a text.
    pub async fn until_shown(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({css:?})?.innerText.includes({text:?})")).await;
    }

    /// One of Chromium's own commands.
    pub async fn command(&self, name: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": name, "params": parameters });
        let done = self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What was logged since the last call: by the `browser`, or of its `performance`.
    async fn log(&self, of: &str) -> Vec<Value> {
        let found = self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": of }) }).await;
        found.expect("a log").as_array().expect("entries").clone()
    }

    /// What Chromium told of itself since the last call: the events of its protocol.
    pub async fn events(&self) -> Vec<Value> {
        let entries = self.log("performance").await;
        let events = entries.iter().map(|entry| {
            let message = entry["message"].as_str().expect("a message");
            serde_json::from_str::<Value>(message).expect("an event")["message"].take()
        });
        events.collect()
    }

    /// Nothing went wrong on the pages since the last call: no script failed, and the policy refused
    /// nothing. That the desk refuses something is no fault of its page.
    pub async fn assert_quiet(&self) {
        let mut entries = self.log("browser").await;
        entries.retain(|entry| {
            let message = entry["message"].as_str().unwrap_or_default();
            let is_refusal = entry["source"] == "network" && message.contains("responded with a status of 4");
            ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap_or_default()) && !is_refusal
        });
        assert_eq!(entries, Vec::<Value>::new());
    }

    /// Whoever looks prefers these colours: `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Makes the window as large as a screen, in its own pixels, of which a bar at its side takes none.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
        self.command("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
    }
}

/// A command that is not of the standard.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What drives the browser, and ends with it.
struct Driver {
    process: Child,
    port: u16,
    folder: PathBuf,
    /// It is told here what the driver has to say, and a driver whom nobody hears ends.
    _output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts it on a port that it chooses. One whose port is another's by then, in the other family of
    /// addresses, ends; then there is a next.
    fn start() -> Self {
        (0..10).find_map(|_| Self::try_start()).expect("chromedriver says its port")
    }

    fn try_start() -> Option<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let Some(port) = port_in(&mut output) else {
            let _ = process.kill();
            let _ = process.wait();
            return None;
        };
        let folder = env::temp_dir().join(format!("atp-browser-{}", process.id()));
        fs::create_dir_all(&folder).expect("a folder");
        Some(Self { process, port, folder, _output: output })
    }

    /// It closes its browser, and ends.
    fn shut_down(&self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = format!(
                "GET /shutdown HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\r\n",
                self.port
            );
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// None if it ends without one.
fn port_in(output: &mut impl BufRead) -> Option<u16> {
    let said = output.lines().map(|line| line.expect("a line"));
    let mut port = said.filter_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    port.next()
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shut_down();
        let patience = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
