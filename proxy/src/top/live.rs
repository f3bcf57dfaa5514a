//! The terminal: a thread draws and reads keys, another asks the proxy. However this ends, by a key, a signal or a
//! panic, the terminal is as it was.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use super::screen::Screen;
use super::source::{Source, SourceError};
use crate::telemetry::metrics::Overview;

/// How long a key may wait for the picture, and an answer of the proxy for being shown.
const BEAT: Duration = Duration::from_millis(50);

/// What the thread that asks says.
enum News {
    /// The proxy answered.
    Seen(Box<Overview>),
    /// It did not.
    Missed(SourceError),
    /// A signal ends this process.
    Quit,
}

/// Shows what the filters cost until somebody quits.
///
/// # Errors
///
/// Those of the terminal.
pub(super) fn run(source: Source, interval: Duration) -> io::Result<()> {
    let (sender, news) = mpsc::channel();
    let asked = source.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("asks".to_owned())
        .spawn(move || runtime.block_on(ask(&asked, interval, &sender)))?;
    let mut terminal = ratatui::try_init()?;
    let outcome = show(&mut terminal, Screen::new(source), &news);
    ratatui::try_restore()?;
    outcome
}

fn show(terminal: &mut DefaultTerminal, mut screen: Screen, news: &Receiver<News>) -> io::Result<()> {
    let mut changed = true;
    loop {
        while let Ok(new) = news.try_recv() {
            match new {
                News::Seen(overview) => screen.see(*overview),
                News::Missed(error) => screen.miss(&error.to_string()),
                News::Quit => return Ok(()),
            }
            changed = true;
        }
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| screen.draw(frame))?;
        }
        if event::poll(BEAT)? {
            changed = true; // a terminal of another size is drawn anew too
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && screen.press(key) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Asks the proxy again and again, until nobody wants to know or a signal comes.
async fn ask(source: &Source, interval: Duration, news: &Sender<News>) {
    let asking = async {
        loop {
            let new = match source.ask().await {
                Ok(overview) => News::Seen(Box::new(overview)),
                Err(error) => News::Missed(error),
            };
            if news.send(new).is_err() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        () = asking => {}
        _ = ended() => drop(news.send(News::Quit)),
    }
}

/// A signal that means to end.
async fn ended() -> io::Result<()> {
    let [mut terminate, mut interrupt, mut hangup] =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}
