//! A file to its statements. One that cannot be parsed is reported and skipped; the next begins after its `;`.

use sqlparser::ast::{Expr, Statement, VisitMut};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::{Report, depth, placed};
use crate::expr::Fault;
use crate::project::SourceFile;

/// How deep parentheses and calls may nest: sqlparser recurses that far.
const MOST_NESTED: usize = 50;

pub(super) struct Written {
    pub statement: Statement,
    /// As in the file, from its first word to its last.
    pub text: String,
    pub start: Location,
}

pub(super) fn statements(file: &SourceFile, report: &mut Report<'_>) -> Vec<Written> {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&DuckDbDialect {}, &file.text).tokenize_with_location_into_buf(&mut tokens);
    let mut statements: Vec<_> = tokens.split(|token| token.token == Token::SemiColon).collect();
    if let Err(error) = read {
        // It breaks off within the last of them.
        let mistake = report.position(error.location);
        let broken_off = statements.pop().and_then(named);
        report.unread.extend(broken_off.map(|name| (name, mistake)));
        report.at(error.location, lower_first(&error.message));
    }
    let mut written = Vec::new();
    for tokens in statements {
        let mut words =
            tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let Some(first) = words.next() else { continue };
        let last = words.next_back().unwrap_or(first);
        let (start, end) = (first.span.start, last.span.end);
        match statement(tokens.to_vec()) {
            Ok(statement) => {
                let text = slice(&file.text, Span::new(start, end));
                written.push(Written { statement, text, start });
            }
            Err(fault) => {
                let span = placed(fault.span, end);
                let mistake = report.position(span.start);
                report.unread.extend(named(tokens).map(|name| (name, mistake)));
                report.fault(Fault { span, ..fault });
            }
        }
    }
    written
}

/// The statement, or what is wrong with it, without a place where sqlparser knows none.
fn statement(tokens: Vec<TokenWithSpan>) -> Result<Statement, Fault> {
    whole(tokens, "end of statement", |parser| parser.parse_statement())
}

/// An expression that stands alone.
pub(super) fn expression(text: &str) -> Result<Expr, Fault> {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&DuckDbDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    read.map_err(|error| Fault::new(Span::new(error.location, error.location), lower_first(&error.message)))?;
    whole(tokens, "end of the condition", |parser| parser.parse_expr())
}

/// Everything that the tokens hold, read as one.
fn whole<T: VisitMut>(
    tokens: Vec<TokenWithSpan>,
    end: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Fault> {
    let dialect = DuckDbDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(MOST_NESTED);
    let mut parser = parser.with_tokens_with_locations(tokens);
    let parsed = parse(&mut parser);
    let place = parser.get_current_token().span;
    let ended = |parsed| match parser.peek_token() {
        TokenWithSpan { token: Token::EOF, .. } => Ok(parsed),
        found => parser.expected(end, found),
    };
    let mut parsed = parsed.and_then(ended).map_err(|error| explained(&error, place))?;
    depth::limited(&mut parsed)?;
    Ok(parsed)
}

/// The name after TABLE or VIEW in a statement that could not be parsed.
fn named(tokens: &[TokenWithSpan]) -> Option<String> {
    let words = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    });
    words.skip_while(|word| !word.eq_ignore_ascii_case("table")).nth(1)
}

/// `Expected: FROM, found: WHERE at Line: 3, Column: 1` as a sentence and a place; `reached` is how far the parser came.
fn explained(error: &ParserError, reached: Span) -> Fault {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            let message = format!(
                "found parentheses or calls nested too deeply, expected at most {MOST_NESTED} levels with the \
                 statement's own: leave out parentheses that change nothing, or write the expression flatter"
            );
            return Fault::new(reached, message);
        }
    };
    let (text, place) = match text.rsplit_once(" at Line: ") {
        Some((text, numbers)) => (text, place(numbers)),
        None => (text, None),
    };
    let message = match text.strip_prefix("Expected: ").and_then(|text| text.rsplit_once(", found: ")) {
        Some((expected, "EOF")) => format!("found the end of the statement, expected {expected}"),
        Some((expected, found)) => format!("found {found}, expected {expected}"),
        None => lower_first(text),
    };
    Fault::new(place.map_or(Span::empty(), |place| Span::new(place, place)), message)
}

fn place(numbers: &str) -> Option<Location> {
    let (line, column) = numbers.split_once(", Column: ")?;
    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The text between two places; columns count characters.
fn slice(text: &str, span: Span) -> String {
    let offset = |place: Location| {
        let lines = text.split_inclusive('\n');
        let before: usize = lines.clone().take(place.line as usize - 1).map(str::len).sum();
        let line = lines.clone().nth(place.line as usize - 1).unwrap_or("");
        let within = line.char_indices().nth(place.column as usize - 1).map_or(line.len(), |(at, _)| at);
        before + within
    };
    text[offset(span.start)..offset(span.end)].to_string()
}
