//! What `tidegate top` shows on a terminal: what is picked, what keys do, how it is drawn. It reads no keys and asks
//! nobody itself.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Clear, Paragraph, Row, Table, TableState};

use super::column::{CALLBACK_COLUMNS, CallbackCosts, Column, FILTER_COLUMNS, name, widths};
use super::costs::{Costs, FilterCosts, State};
use super::source::Source;
use super::text;
use crate::telemetry::metrics::Overview;

const KEYS: [(&str, &str); 8] = [
    ("q  Ctrl-C", "quit"),
    ("↑ ↓  k j", "pick a filter"),
    ("Enter", "its callbacks; Esc goes back"),
    ("← →  < >", "sort by another column"),
    ("P  M  N", "sort by time, memory, name"),
    ("r", "reverse the order"),
    ("Space", "stop the picture, and go on"),
    ("?  h", "this list"),
];

/// What is shown.
pub(super) struct Screen {
    source: Source,
    /// The last look, and what had happened since the one before.
    seen: Option<(Overview, Option<Costs>)>,
    /// Why there was no answer when it was last asked for.
    lost: Option<String>,
    filters: Sorting,
    callbacks: Sorting,
    picked: TableState,
    /// The filter whose callbacks are shown.
    inside: Option<String>,
    is_stopped: bool,
    shows_keys: bool,
}

/// Which order a table has.
struct Sorting {
    column: usize,
    reversed: bool,
}

/// Most expensive first.
const BY_TIME: usize = 1;

impl Screen {
    /// Nothing is known yet.
    pub(super) fn new(source: Source) -> Screen {
        let by_time = || Sorting { column: BY_TIME, reversed: false };
        Screen {
            source,
            seen: None,
            lost: None,
            filters: by_time(),
            callbacks: by_time(),
            picked: TableState::default().with_selected(0),
            inside: None,
            is_stopped: false,
            shows_keys: false,
        }
    }

    /// The proxy answered.
    pub(super) fn see(&mut self, overview: Overview) {
        self.lost = None;
        if !self.is_stopped {
            let costs = self.seen.as_ref().map(|(before, _)| Costs::between(before, &overview));
            self.seen = Some((overview, costs));
        }
    }

    /// The proxy did not answer. What was seen last stays.
    pub(super) fn miss(&mut self, why: &str) {
        self.lost = Some(why.to_owned());
    }

    /// Does what a key says. Whether that is to quit.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if self.shows_keys && key.code != KeyCode::Char('q') && !control {
            self.shows_keys = false;
            return false;
        }
        match key.code {
            KeyCode::Char('c') if control => return true,
            KeyCode::Char(_) if control => {}
            KeyCode::Char('q') => return true,
            KeyCode::Char('?' | 'h') => self.shows_keys = true,
            KeyCode::Char(' ') => self.is_stopped = !self.is_stopped,
            KeyCode::Char('r') => self.sorting().reversed ^= true,
            KeyCode::Char('P') => self.sort_by("CPU%"),
            KeyCode::Char('M') => self.sort_by("MEMORY"),
            KeyCode::Char('N') => self.sorting().column = 0,
            KeyCode::Left | KeyCode::Char('<') => self.turn(-1),
            KeyCode::Right | KeyCode::Char('>') => self.turn(1),
            KeyCode::Up | KeyCode::Char('k') => self.picked.select_previous(),
            KeyCode::Down | KeyCode::Char('j') => self.picked.select_next(),
            KeyCode::Home => self.picked.select_first(),
            KeyCode::End => self.picked.select_last(),
            KeyCode::Enter if self.inside.is_none() => self.inside = self.picked_filter(),
            KeyCode::Esc | KeyCode::Backspace => self.inside = None,
            _ => {}
        }
        false
    }

    /// Draws it all.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, main, foot] =
            Layout::vertical([Constraint::Length(3), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(self.head(), head);
        let inside = self.inside.as_ref().and_then(|name| self.filter(name).cloned());
        match inside {
            Some(filter) => self.draw_callbacks(&filter, frame, main),
            None => self.draw_filters(frame, main),
        }
        let keys = match self.inside {
            Some(_) => "q quit  Esc back  ←→ sort  r reverse  Space stop  ? keys",
            None => "q quit  ↑↓ pick  Enter callbacks  ←→ sort  r reverse  Space stop  ? keys",
        };
        let stopped = if self.is_stopped { "STOPPED  " } else { "" };
        frame.render_widget(Line::styled(format!("{stopped}{keys}"), Modifier::DIM), foot);
        if self.shows_keys {
            draw_keys(frame);
        }
    }

    fn head(&self) -> Paragraph<'static> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut lines = match &self.seen {
            None => vec![Line::styled(format!("tidegate at {}", self.source.address()), bold)],
            Some((overview, costs)) => {
                let mut lines = vec![Line::styled(text::title(&self.source, overview), bold)];
                lines.extend(costs.iter().map(|costs| Line::raw(text::traffic(overview, costs))));
                lines
            }
        };
        if let Some(why) = &self.lost {
            lines.truncate(1);
            lines.push(Line::styled(format!("{why}; asking again"), Color::Red));
        }
        Paragraph::new(lines)
    }

    fn draw_filters(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.sorted_filters();
        if rows.is_empty() {
            let waits = !matches!(self.seen, Some((_, Some(_))));
            let said = if waits { "measuring" } else { "no filters are in use" };
            return frame.render_widget(Line::raw(said), area);
        }
        let last = rows.len() - 1;
        self.picked.select(Some(self.picked.selected().unwrap_or_default().min(last)));
        let table = table(&FILTER_COLUMNS, &rows, &self.filters, area.width, |filter| match filter.state {
            State::Missing | State::BreakerOpen | State::Failing => Style::from(Color::Red),
            State::RateLimited => Style::from(Color::Yellow),
            State::Gone => Style::from(Modifier::DIM),
            State::Ok => Style::new(),
        });
        frame.render_stateful_widget(table, area, &mut self.picked);
    }

    fn draw_callbacks(&self, filter: &FilterCosts, frame: &mut Frame<'_>, area: Rect) {
        let [head, main] = Layout::vertical([Constraint::Length(4), Constraint::Fill(1)]).areas(area);
        let counts = |counts: &std::collections::BTreeMap<String, u64>| match counts.is_empty() {
            true => "none".to_owned(),
            false => {
                counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
            }
        };
        let lines = vec![
            Line::styled(format!("filter {}{}", name(&filter.name), ailment(filter)), Modifier::BOLD),
            Line::raw(format!(
                "faults: {}; made anew: {}; log lines dropped: {}",
                counts(&filter.faults_since_start),
                filter.rebuilds_since_start,
                filter.dropped_log_lines_since_start
            )),
            Line::raw(format!("kept from it over its rate: {}", counts(&filter.rate_limited_since_start))),
        ];
        frame.render_widget(Paragraph::new(lines), head);
        let mut rows: Vec<CallbackCosts> =
            filter.callbacks.iter().map(|(name, cost)| (name.clone(), *cost)).collect();
        self.callbacks.apply(&CALLBACK_COLUMNS, &mut rows);
        let table = table(&CALLBACK_COLUMNS, &rows, &self.callbacks, main.width, |_| Style::new());
        frame.render_widget(table.row_highlight_style(Style::new()), main);
    }

    fn sorted_filters(&self) -> Vec<FilterCosts> {
        let Some((_, Some(costs))) = &self.seen else { return Vec::new() };
        let mut rows = costs.filters.clone();
        self.filters.apply(&FILTER_COLUMNS, &mut rows);
        rows
    }

    fn filter(&self, name: &str) -> Option<&FilterCosts> {
        let (_, costs) = self.seen.as_ref()?;
        costs.as_ref()?.filters.iter().find(|filter| filter.name == name)
    }

    fn picked_filter(&self) -> Option<String> {
        let mut rows = self.sorted_filters();
        let picked = self.picked.selected().filter(|picked| *picked < rows.len())?;
        Some(rows.swap_remove(picked).name)
    }

    fn sorting(&mut self) -> &mut Sorting {
        if self.inside.is_some() { &mut self.callbacks } else { &mut self.filters }
    }

    fn titles(&self) -> Vec<&'static str> {
        match self.inside {
            Some(_) => CALLBACK_COLUMNS.iter().map(|column| column.title).collect(),
            None => FILTER_COLUMNS.iter().map(|column| column.title).collect(),
        }
    }

    fn sort_by(&mut self, title: &str) {
        if let Some(column) = self.titles().iter().position(|known| *known == title) {
            *self.sorting() = Sorting { column, reversed: false };
        }
    }

    fn turn(&mut self, by: isize) {
        let count = self.titles().len();
        let sorting = self.sorting();
        sorting.column = sorting.column.saturating_add_signed(by).min(count - 1);
    }
}

impl Sorting {
    /// Rows that are equal in the column stay in the order of their names, in which they come.
    fn apply<T>(&self, columns: &[Column<T>], rows: &mut [T]) {
        rows.sort_by(columns[0].order);
        let order = columns[self.column].order;
        rows.sort_by(|one, other| if self.reversed { order(other, one) } else { order(one, other) });
    }
}

/// Why it is not called, if it is not.
fn ailment(filter: &FilterCosts) -> String {
    match filter.state {
        State::Missing => ": its module is missing".to_owned(),
        State::BreakerOpen => {
            format!(": left alone by {} of {} workers", filter.breakers_open, filter.workers)
        }
        State::Failing | State::RateLimited | State::Gone | State::Ok => String::new(),
    }
}

fn table<'a, T>(
    columns: &[Column<T>],
    rows: &[T],
    sorting: &Sorting,
    width: u16,
    style: impl Fn(&T) -> Style,
) -> Table<'a> {
    let widths = widths(columns, rows, width.into());
    let columns = &columns[..widths.len()];
    let cell = |place: usize, text: String| {
        let alignment = if place == 0 { Alignment::Left } else { Alignment::Right };
        Cell::from(Line::raw(text).alignment(alignment))
    };
    let titles = columns.iter().enumerate().map(|(place, column)| {
        let sorted = if place == sorting.column { Modifier::UNDERLINED } else { Modifier::empty() };
        cell(place, column.title.to_owned()).style(sorted)
    });
    let body = rows.iter().map(|row| {
        let cells = columns.iter().enumerate().map(|(place, column)| cell(place, (column.text)(row)));
        Row::new(cells.collect::<Vec<_>>()).style(style(row))
    });
    let lengths = widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    Table::new(body.collect::<Vec<_>>(), lengths.collect::<Vec<_>>())
        .header(Row::new(titles.collect::<Vec<_>>()).style(Modifier::BOLD))
        .row_highlight_style(Modifier::REVERSED)
}

fn draw_keys(frame: &mut Frame<'_>) {
    let lines: Vec<Line<'_>> =
        KEYS.iter().map(|(key, what)| Line::raw(format!(" {key:<12}{what} "))).collect();
    let (width, height) = (46.min(frame.area().width), (lines.len() as u16 + 2).min(frame.area().height));
    let left = (frame.area().width - width) / 2;
    let area = Rect { x: left, y: (frame.area().height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines).block(ratatui::widgets::Block::bordered().title(" keys ")),
        area,
    );
}
