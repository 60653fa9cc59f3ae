//! A file of settings for a command with many options: `--config FILE` and `--print-config`.
//!
//! The file is TOML; its keys are the long options of the command, so that `--help` documents both.
//! A value comes from the command line, else from the environment, else from the file, else it is
//! the default. What the command line or the environment says also displaces what contradicts it in
//! the file.
//!
//! # How it works
//!
//! The file's values become the *defaults* of the command's arguments, after each was tried alone, so
//! that a wrong one is told with its line. Precedence, checking and help stay clap's.

use clap::builder::OsStr;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Id of the option that names the file.
const FILE: &str = "config";
/// Id of the option that asks for the settings instead of the work.
const PRINT: &str = "print_config";
/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To do the work, with these arguments.
    Run(ArgMatches),
    /// To print this.
    Print(String),
}

/// A value of the file, as it would stand on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    line: usize,
    text: String,
}

/// What is wrong in a line of the file.
type Wrong = (usize, String);

/// Settings by the id of their argument.
type Settings = BTreeMap<String, Setting>;

/// Parses a command line whose subcommand `name` has the options `--config` and `--print-config`.
pub fn parse(
    command: &Command,
    name: &str,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Asked, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    // What must be there may be in the file, so that the first look asks for nothing.
    let lenient = with_defaults(command.clone(), name, &Settings::new(), false);
    let Ok(first) = lenient.clone().try_get_matches_from(&words) else {
        return command.clone().try_get_matches_from(words).map(Asked::Run);
    };
    let Some(given) = first.subcommand_matches(name) else {
        return command.clone().try_get_matches_from(words).map(Asked::Run);
    };
    let settings = match given.get_one::<PathBuf>(FILE) {
        None => Settings::new(),
        Some(path) => settings_of_file(lenient, name, path, given)?,
    };
    let strict = with_defaults(command.clone(), name, &settings, true);
    let matches = strict.try_get_matches_from(words)?;
    let chosen = matches.subcommand_matches(name);
    match chosen.filter(|chosen| chosen.get_flag(PRINT)) {
        Some(chosen) => Ok(Asked::Print(print(
            &built(command.clone(), name),
            chosen,
            &settings,
        ))),
        None => Ok(Asked::Run(matches)),
    }
}

/// The subcommand, ready to be asked.
fn built(mut command: Command, name: &str) -> Command {
    command.build();
    command.find_subcommand(name).cloned().unwrap_or(command)
}

/// The command whose subcommand has the settings as defaults; without `strict` it requires nothing.
fn with_defaults(command: Command, name: &str, settings: &Settings, strict: bool) -> Command {
    let name = name.to_owned();
    let settings = settings.clone();
    command.mut_subcommand(name, move |subcommand| {
        subcommand.mut_args(|argument| match settings.get(argument.get_id().as_str()) {
            Some(setting) => argument
                .required(false)
                .default_value(OsStr::from(setting.text.clone())),
            None if strict => argument,
            None => argument.required(false),
        })
    })
}

fn settings_of_file(
    command: Command,
    name: &str,
    path: &Path,
    given: &ArgMatches,
) -> Result<Settings, clap::Error> {
    let mut whole = command.clone();
    let refuse = |what: String| clap::Error::raw(ErrorKind::InvalidValue, what).with_cmd(&whole);
    let text = read(path).map_err(|what| refuse(format!("{}: {what}\n", path.display())))?;
    let subcommand = built(command, name);
    let settings = settings_of(&text, &subcommand)
        .and_then(|settings| displace(&subcommand, settings, given))
        .map_err(|(line, what)| refuse(format!("{}:{line}: {what}\n", path.display())));
    whole.build();
    settings
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |cause: std::io::Error| format!("cannot be read: {cause}");
    let len = std::fs::metadata(path).map_err(cannot)?.len();
    if len > FILE_BYTES_MAX {
        return Err(format!("has {len} bytes, more than {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// The settings of a text, each tried alone.
fn settings_of(text: &str, subcommand: &Command) -> Result<Settings, Wrong> {
    let line_of = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|cause| {
        let at = cause.span().map_or(0, |span| span.start);
        (line_of(at), cause.message().to_owned())
    })?;
    let mut settings = Settings::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let argument = argument(subcommand, key.get_ref()).map_err(|what| (line, what))?;
        let text = text_of(argument, value.get_ref()).map_err(|what| (line, what))?;
        attempt(subcommand, argument, &text).map_err(|what| (line, what))?;
        let id = argument.get_id().as_str().to_owned();
        settings.insert(id, Setting { line, text });
    }
    Ok(settings)
}

/// Arguments that a file may set.
fn settable(subcommand: &Command) -> impl Iterator<Item = &Arg> {
    let is_settable = |argument: &&Arg| {
        let id = argument.get_id().as_str();
        argument.get_long().is_some() && ![FILE, PRINT, "help", "version"].contains(&id)
    };
    subcommand.get_arguments().filter(is_settable)
}

/// The argument of a key, or what is wrong with it.
fn argument<'a>(subcommand: &'a Command, key: &str) -> Result<&'a Arg, String> {
    let found = settable(subcommand).find(|argument| argument.get_long() == Some(key));
    found.ok_or_else(|| {
        let known: Vec<&str> = settable(subcommand).filter_map(Arg::get_long).collect();
        let swapped = key.replace('_', "-");
        if known.contains(&swapped.as_str()) {
            return format!("unknown key {key}: it is called {swapped}");
        }
        format!("unknown key {key}; the keys are {}", known.join(", "))
    })
}

/// The value as it would stand on the command line.
fn text_of(argument: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
    let key = argument.get_long().unwrap_or_default();
    match value {
        DeValue::Boolean(value) if is_flag => Ok(value.to_string()),
        _ if is_flag => Err(format!("{key} takes true or false")),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|cause| format!("{key}: {cause}")),
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => Err(format!("{key} takes a text or a whole number")),
    }
}

/// What the command says to this value alone.
fn attempt(subcommand: &Command, argument: &Arg, text: &str) -> Result<(), String> {
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    let word = format!("--{}={text}", argument.get_long().unwrap_or_default());
    let alone = subcommand.clone().no_binary_name(true);
    match alone.try_get_matches_from([word]) {
        Err(refused) if is_about_a_value(refused.kind()) => {
            let whole = refused.to_string();
            let first = whole.lines().next().unwrap_or_default();
            Err(first.trim_start_matches("error: ").to_owned())
        }
        _ => Ok(()),
    }
}

fn is_about_a_value(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidUtf8
    )
}

/// Leaves out what the command line or the environment contradicts; refuses contradictions inside
/// of the file.
fn displace(
    subcommand: &Command,
    mut settings: Settings,
    given: &ArgMatches,
) -> Result<Settings, Wrong> {
    let mut pairs = Vec::new();
    for one in settable(subcommand) {
        for other in subcommand.get_arg_conflicts_with(one) {
            let ids = (one.get_id().as_str(), other.get_id().as_str());
            pairs.extend([ids, (ids.1, ids.0)]);
        }
    }
    let is_given = |id: &str| {
        let source = given.value_source(id);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    for (one, other) in &pairs {
        if is_given(one) && !is_given(other) {
            settings.remove(*other);
        }
    }
    for (one, other) in &pairs {
        if let (Some(first), Some(second)) = (settings.get(*one), settings.get(*other))
            && first.line < second.line
        {
            let what = format!("{other} and {one} (line {}) exclude each other", first.line);
            return Err((second.line, what.replace('_', "-")));
        }
    }
    Ok(settings)
}

/// All settings as a file, with where each value is from.
fn print(subcommand: &Command, chosen: &ArgMatches, settings: &Settings) -> String {
    let mut text = String::new();
    for argument in settable(subcommand) {
        let (id, key) = (
            argument.get_id().as_str(),
            argument.get_long().unwrap_or_default(),
        );
        if let Some(help) = argument.get_help() {
            let help = help.to_string().replace('\n', " ");
            text.extend(["# ", &help, "\n"]);
        }
        let source = match chosen.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            Some(_) if settings.contains_key(id) => "file",
            _ => "default",
        };
        let value = if matches!(argument.get_action(), ArgAction::SetTrue) {
            Some(chosen.get_flag(id).to_string())
        } else {
            let raw = chosen.get_raw(id).and_then(|mut values| values.next());
            raw.map(|raw| written(&raw.to_string_lossy()))
        };
        match value {
            Some(value) => text.extend([key, " = ", &value, " # ", source, "\n\n"]),
            None => text.extend(["# ", key, " is not set\n\n"]),
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A value as TOML.
fn written(text: &str) -> String {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => text.to_owned(),
        _ => toml::Value::String(text.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    #[command(name = "tool")]
    enum Tool {
        Serve(Serve),
        Other,
    }

    #[derive(Debug, clap::Args)]
    struct Serve {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long)]
        print_config: bool,
        /// Where
        #[arg(long)]
        data: PathBuf,
        /// How many
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=9), env = "SETTINGS_TEST_COUNT")]
        count: u32,
        /// Elsewhere
        #[arg(long, conflicts_with = "data")]
        remote: Option<String>,
        /// Never
        #[arg(long)]
        closed: bool,
    }

    fn asked(file: &str, words: &[&str]) -> Result<Asked, String> {
        let io = |cause: std::io::Error| cause.to_string();
        let directory = tempfile::TempDir::new().map_err(io)?;
        let path = directory.path().join("tool.toml");
        std::fs::write(&path, file).map_err(io)?;
        let config = format!("--config={}", path.display());
        let all = ["tool", "serve", &config]
            .into_iter()
            .chain(words.iter().copied());
        parse(&Tool::command(), "serve", all.map(OsString::from)).map_err(|refused| {
            refused
                .to_string()
                .replace(&path.display().to_string(), "FILE")
        })
    }

    fn printed(file: &str, words: &[&str]) -> String {
        let words = [words, &["--print-config"]].concat();
        match asked(file, &words) {
            Ok(Asked::Print(text)) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_goes_before_the_file_and_the_file_before_the_default() {
        let text = printed(
            "data = '/file'\ncount = 7\nclosed = true\n",
            &["--count", "8"],
        );
        assert!(text.contains("data = \"/file\" # file\n"), "{text}");
        assert!(text.contains("count = 8 # command line\n"), "{text}");
        assert!(text.contains("closed = true # file\n"), "{text}");
        assert!(text.contains("# remote is not set\n"), "{text}");
        let text = printed("data = '/file'\n", &[]);
        assert!(text.contains("count = 4 # default\n"), "{text}");
        // What was printed is such a file again.
        let again = printed(&text, &[]);
        assert!(again.contains("count = 4 # file\n"), "{again}");
    }

    #[test]
    fn the_values_arrive_in_the_arguments() {
        use clap::FromArgMatches;
        let Ok(Asked::Run(matches)) = asked("data = '/file'\ncount = 7\nclosed = true\n", &[])
        else {
            panic!("no arguments")
        };
        let Tool::Serve(serve) = Tool::from_arg_matches(&matches).unwrap() else {
            panic!("another command")
        };
        assert_eq!((serve.count, serve.closed), (7, true));
        assert_eq!(serve.data, PathBuf::from("/file"));
        assert_eq!((serve.config.is_some(), serve.print_config), (true, false));
        assert_eq!(serve.remote, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (file, told) in [
            (
                "data = 'x'\n\nlisten = 'y'\n",
                "FILE:3: unknown key listen; the keys are data, count",
            ),
            (
                "data = 'x'\nprint_config = true\n",
                "FILE:2: unknown key print_config",
            ),
            (
                "data = 'x'\ncount = 12\n",
                "FILE:2: invalid value '12' for '--count",
            ),
            (
                "data = 'x'\ncount = 'many'\n",
                "FILE:2: invalid value 'many'",
            ),
            ("closed = 'yes'\n", "FILE:1: closed takes true or false"),
            (
                "count = 1.5\n",
                "FILE:1: count takes a text or a whole number",
            ),
            ("[serve]\ncount = 1\n", "FILE:1: unknown key serve"),
            ("count = 1\ncount = 2\n", "FILE:2: "),
            ("count = \n", "FILE:1: "),
            (
                "data = 'x'\nremote = 'y'\n",
                "FILE:2: remote and data (line 1) exclude each other",
            ),
        ] {
            let refused = asked(file, &[]).unwrap_err();
            assert!(refused.contains(told), "{file:?}: {refused}");
        }
    }

    #[test]
    fn an_option_displaces_what_contradicts_it_in_the_file() {
        let text = printed("remote = 'y'\n", &["--data", "/x"]);
        assert!(text.contains("# remote is not set\n"), "{text}");
        assert!(text.contains("data = \"/x\" # command line\n"), "{text}");
    }

    #[test]
    fn what_must_be_there_must_be_there_and_other_commands_are_left_alone() {
        let refused = asked("count = 3\n", &[]).unwrap_err();
        assert!(refused.contains("--data <DATA>"), "{refused}");
        let words = ["tool", "other"].map(OsString::from);
        assert!(matches!(
            parse(&Tool::command(), "serve", words),
            Ok(Asked::Run(_))
        ));
        let missing = ["tool", "serve", "--config", "/no/such/file"].map(OsString::from);
        let refused = parse(&Tool::command(), "serve", missing)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("/no/such/file: cannot be read"),
            "{refused}"
        );
    }
}
