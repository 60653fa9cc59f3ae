//! `chatdb query`: runs statements and prints their rows, page by page.

use crate::cli::render::Format;
use crate::cli::screen::Screen;
use crate::cli::session::{Paging, Session};
use crate::cli::split::split;
use crate::cli::{Query, Stop};
use crate::error::{Error, ErrorKind};
use std::io::Read;

pub(crate) async fn run(arguments: Query, screen: &Screen) -> Result<(), Stop> {
    let text = if arguments.text == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|cause| {
                Error::new(ErrorKind::Io, "cannot read standard input").with_source(cause)
            })?;
        text
    } else {
        arguments.text
    };
    let db = arguments.target.open().await?;
    let mut session = Session::new(db.clone(), arguments.keyspace);
    session.format = match (arguments.json, arguments.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Table,
    };
    session.consistency = arguments.consistency.into();
    session.has_footer = session.format == Format::Table && screen.is_terminal();
    let statements = split(&text)?;
    if statements.is_empty() {
        return Err(Error::invalid("there is no statement").into());
    }
    for statement in statements {
        session.run(statement, Paging::All, screen).await?;
    }
    db.close().await?;
    Ok(())
}
