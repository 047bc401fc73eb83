//! What a statement names, from DuckDB's own parse tree: which tables, which columns of them may matter, and which columns
//! of the result are columns of a table.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use watershed_schemas::sql_worker::TableName;

use super::tree;
use crate::refusal::{Reason, Refusal};

/// Functions that make rows and read nothing. Any other is refused: they read files, settings or catalogues.
const TABLE_FUNCTIONS: [&str; 8] = [
    "range",
    "generate_series",
    "unnest",
    "repeat",
    "repeat_row",
    "json_each",
    "json_tree",
    "generate_subscripts",
];
/// What a query may consist of. Other parts write.
const QUERIES: [&str; 4] = ["SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"];
/// Functions of single values that tell of the process or its settings, or change what they are for those who come later.
const REFUSED_FUNCTIONS: [&str; 10] = [
    "current_setting",
    "getenv",
    "getvariable",
    "write_log",
    "read_text",
    "read_blob",
    "json_execute_serialized_sql",
    "query",
    "query_table",
    "setseed",
];

/// A statement, looked through.
#[derive(Debug, Default)]
pub struct Names {
    pub tables: Vec<Named>,
    /// Everything that may be a column's name, in lower case; `None` where all columns matter.
    pub columns: Option<BTreeSet<String>>,
    /// Of the result, as far as that can be told.
    pub origins: Option<Vec<Origin>>,
}

/// A table as the statement writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    /// What the statement calls it.
    pub alias: String,
    /// Bytes of the statement before it.
    pub position: Option<usize>,
}

/// Where a column of the result comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Column {
        alias: Option<String>,
        name: String,
    },
    /// All columns of the only table.
    Star,
    Other,
}

/// Why a statement is none that is run here.
#[derive(Debug)]
pub struct Unfit {
    pub detail: String,
    pub position: Option<usize>,
}

/// Looks through the parse tree of what should be one `SELECT`.
pub fn names(tree: &str) -> Result<Names, Unfit> {
    let unfit = |detail: &str| Unfit { detail: detail.to_string(), position: None };
    let tree = tree::parse(tree).ok_or_else(|| unfit("the statement is nested too deeply"))?;
    let statement = match tree["statements"].as_array().map(Vec::as_slice) {
        Some([statement]) => statement,
        Some([]) | None => return Err(unfit("there is no statement, expected one SELECT")),
        Some(several) => {
            let found = several.len();
            return Err(unfit(&format!("found {found} statements, expected one SELECT")));
        }
    };
    let mut walk = Walk::default();
    walk.walk(statement)?;
    let is_whole_row = |named: &Named| walk.alone.contains(&named.alias);
    let all = walk.all || walk.names.tables.iter().any(is_whole_row);
    let Walk { mut names, texts, .. } = walk;
    names.columns = (!all).then_some(texts);
    names.origins = origins(&statement["node"]);
    Ok(names)
}

impl Unfit {
    pub fn refusal(self) -> Refusal {
        Refusal::new(Reason::WrongQuestion, self.detail)
    }
}

#[derive(Default)]
struct Walk {
    /// Names of common table expressions that are visible, in lower case.
    scope: Vec<String>,
    names: Names,
    texts: BTreeSet<String>,
    /// References of one name: a column's, or a table's for its whole row.
    alone: BTreeSet<String>,
    all: bool,
}

impl Walk {
    fn walk(&mut self, node: &Json) -> Result<(), Unfit> {
        match node {
            Json::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            Json::Object(object) => {
                let scope = self.scope.len();
                self.look(node)?;
                self.expressions(&node["cte_map"]["map"])?;
                for (key, value) in object {
                    let is_own = ["cte_map", "qualified_name", "table_name", "alias"].contains(&key.as_str());
                    if !is_own {
                        self.walk(value)?;
                    }
                }
                self.scope.truncate(scope);
                Ok(())
            }
            Json::String(text) => {
                self.texts.insert(text.to_lowercase());
                Ok(())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
        }
    }

    /// Each expression sees those before it, and itself only if it is recursive.
    fn expressions(&mut self, map: &Json) -> Result<(), Unfit> {
        for entry in map.as_array().into_iter().flatten() {
            let name = entry["key"].as_str().unwrap_or_default().to_lowercase();
            let is_recursive = entry["value"]["query_node"]["type"] == "RECURSIVE_CTE_NODE";
            if is_recursive {
                self.scope.push(name.clone());
            }
            self.walk(&entry["value"])?;
            if !is_recursive {
                self.scope.push(name);
            }
        }
        Ok(())
    }

    fn look(&mut self, node: &Json) -> Result<(), Unfit> {
        let position = position(node);
        let unfit = |detail: String| Err(Unfit { detail, position });
        let function = |node: &Json| node["function_name"].as_str().unwrap_or_default().to_lowercase();
        match node["type"].as_str().unwrap_or_default() {
            "BASE_TABLE" => {
                if let Some(named) = base_table(node).filter(|named| !self.is_expression(named)) {
                    self.names.tables.push(named);
                }
            }
            "TABLE_FUNCTION" => {
                let name = function(&node["function"]);
                if !TABLE_FUNCTIONS.contains(&name.as_str()) {
                    return unfit(format!(
                        "the table function {name} is not offered here: a statement reads views, batch.<view> and events.<stream>"
                    ));
                }
            }
            "SHOW_REF" if node["query"].is_null() => {
                return unfit("SHOW is not offered here: ask GET /v1/views".to_string());
            }
            "SHOW_REF" | "PIVOT" | "STAR" | "POSITIONAL_REFERENCE" => self.all = true,
            part if part.ends_with("_NODE") && !QUERIES.contains(&part) => {
                return unfit("a part of the statement writes: a statement only reads here".to_string());
            }
            "FUNCTION" if REFUSED_FUNCTIONS.contains(&function(node).as_str()) => {
                return unfit(format!("the function {} is not offered here", function(node)));
            }
            "COLUMN_REF" => {
                if let Some([Json::String(name)]) = node["column_names"].as_array().map(Vec::as_slice) {
                    self.alone.insert(name.to_lowercase());
                }
            }
            _ => {}
        }
        if node["ref_type"] == "NATURAL" {
            self.all = true;
        }
        Ok(())
    }

    fn is_expression(&self, named: &Named) -> bool {
        matches!(named.path.as_slice(), [name] if self.scope.contains(&name.to_lowercase()))
    }
}

fn position(node: &Json) -> Option<usize> {
    node["query_location"].as_u64().and_then(|location| usize::try_from(location).ok())
}

fn base_table(node: &Json) -> Option<Named> {
    let path = node["qualified_name"]["path"].as_array()?;
    let path: Vec<String> = path.iter().filter_map(|part| part.as_str().map(str::to_string)).collect();
    let alias = node["alias"].as_str().or(path.last().map(String::as_str))?.to_lowercase();
    Some(Named { path, alias, position: position(node) })
}

fn origins(node: &Json) -> Option<Vec<Origin>> {
    // Inner queries may give a column's name to something else.
    if node["type"] != "SELECT_NODE"
        || !node["cte_map"]["map"].is_null()
        || !is_tables_alone(&node["from_table"])
    {
        return None;
    }
    let is_table = node["from_table"]["type"] == "BASE_TABLE";
    let origin = |item: &Json| match item["class"].as_str() {
        Some("COLUMN_REF") => {
            let names = item["column_names"].as_array()?;
            let text = |name: &Json| name.as_str().unwrap_or_default().to_lowercase();
            Some(match names.as_slice() {
                [name] => Origin::Column { alias: None, name: text(name) },
                [alias, name] => Origin::Column { alias: Some(text(alias)), name: text(name) },
                _ => Origin::Other,
            })
        }
        Some("STAR") => {
            let plain = ["columns", "exclude_list", "replace_list", "expr", "relation_name", "rename_list"];
            (is_table && plain.iter().all(|key| item[*key].is_null())).then_some(Origin::Star)
        }
        _ => Some(Origin::Other),
    };
    node["select_list"].as_array()?.iter().map(origin).collect()
}

fn is_tables_alone(from: &Json) -> bool {
    match from["type"].as_str() {
        Some("BASE_TABLE") => true,
        Some("JOIN") => is_tables_alone(&from["left"]) && is_tables_alone(&from["right"]),
        _ => false,
    }
}

impl Named {
    /// As a table that can be handed over; the catalogue's and others' tables are none.
    pub fn table(&self) -> Option<TableName> {
        match self.path.as_slice() {
            [name] => Some(TableName { schema: None, name: name.clone() }),
            [schema, name] => {
                let schema = schema.to_lowercase();
                let schema = (schema != "main").then_some(schema);
                Some(TableName { schema, name: name.clone() })
            }
            _ => None,
        }
    }

    pub fn shown(&self) -> String {
        self.path.join(".")
    }
}
