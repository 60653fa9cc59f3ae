//! The status page of a node: its whole cluster for a person at a glance, in one document without
//! scripts or anything from elsewhere. It loads itself again every few seconds.

use crate::cli::render::bytes;
use crate::node::environment::now_ms;
use crate::overview::{NodeFacts, Overview, ReplicaFacts, TabletFacts, Trouble, hex};

const STYLE: &str = include_str!("page.css");
/// How often the page is loaded again, in seconds.
const REFRESH_SECONDS: u32 = 5;

/// The page. The future of asking all nodes has ended before, so that this only writes.
pub(crate) fn render(view: &Overview) -> String {
    let troubles = view.troubles();
    let (mark, verdict) = match troubles.len() {
        0 => ("\u{2713}", "All is well".to_owned()),
        1 => ("\u{2717}", "One thing needs attention".to_owned()),
        more => ("\u{2717}", format!("{more} things need attention")),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">\
         <title>{mark} {verdict} \u{b7} chatdb</title><style>{STYLE}</style></head>\n<body><main>\n"
    );
    let id = hex(&view.whole.cluster_id);
    let short = id.get(..8).unwrap_or(&id);
    put(
        &mut page,
        &format!(
            "<header><h1>chatdb cluster</h1><p class=\"quiet\"><span title=\"{id}\">{short}</span>, as node n{} sees it at {} \
         UTC; again every {REFRESH_SECONDS} seconds. <a href=\"/metrics\">All numbers</a></p></header>\n",
            view.whole.node,
            clock(now_ms()),
        ),
    );
    attention(&mut page, &verdict, &troubles);
    let (nodes, tablets) = (view.nodes(), view.tablets());
    facts(&mut page, view, &nodes, &tablets);
    table(
        &mut page,
        "Nodes",
        &[
            "Node", "State", "Zone", "Address", "Tablets", "Leads", "Data", "Behind", "Log",
            "Disk", "Group 0", "Up",
        ],
        &[4, 5, 6, 7, 8],
        nodes.iter().map(node_row),
    );
    table(
        &mut page,
        "Tablets",
        &[
            "Tablet",
            "Share",
            "Replicas, the leader filled",
            "State",
            "Entries",
            "Data",
        ],
        &[1, 4, 5],
        tablets.iter().map(tablet_row),
    );
    page.push_str("</main></body></html>\n");
    page
}

/// What is wrong, or that nothing is.
fn attention(page: &mut String, verdict: &str, troubles: &[Trouble]) {
    let tone = if troubles.is_empty() { "good" } else { "bad" };
    put(
        page,
        &format!("<section class=\"verdict {tone}\" role=\"status\"><h2>{verdict}</h2>"),
    );
    if !troubles.is_empty() {
        page.push_str("<ul>");
        for trouble in troubles {
            let what = capital(&escape(&trouble.what));
            put(
                page,
                &format!(
                    "<li><strong>{what}.</strong> <span>{}</span></li>",
                    escape(trouble.advice)
                ),
            );
        }
        page.push_str("</ul>");
    }
    page.push_str("</section>\n");
}

fn facts(page: &mut String, view: &Overview, nodes: &[NodeFacts], tablets: &[TabletFacts]) {
    let members = nodes.iter().filter(|node| node.state != "gone");
    let alive = members.clone().filter(|node| node.uptime_ms.is_some());
    let data: u64 = nodes.iter().map(|node| node.bytes).sum();
    let moving = tablets.iter().filter(|tablet| !tablet.is_settled).count();
    let leader = match view.whole.leader {
        0 => "nobody".to_owned(),
        node => format!("n{node}"),
    };
    let mut versions: Vec<&str> = nodes.iter().map(|node| node.version.as_str()).collect();
    versions.retain(|version| !version.is_empty());
    versions.sort_unstable();
    versions.dedup();
    page.push_str("<dl class=\"facts\">");
    for (name, value) in [
        (
            "Nodes that answer",
            format!("{} of {}", alive.count(), members.count()),
        ),
        ("Tablets", tablets.len().to_string()),
        ("Replicas of each", view.whole.replication.to_string()),
        ("Moving now", moving.to_string()),
        ("Data on all nodes", bytes(data)),
        ("Group 0 is led by", leader),
        ("Version", versions.join(", ")),
    ] {
        put(page, &format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    }
    page.push_str("</dl>\n");
}

/// A table; its cells are HTML already. `numbers` are columns that stand to the right.
fn table(
    page: &mut String,
    title: &str,
    header: &[&str],
    numbers: &[usize],
    rows: impl Iterator<Item = Vec<String>>,
) {
    let class = |column: usize| {
        if numbers.contains(&column) {
            " class=\"number\""
        } else {
            ""
        }
    };
    put(
        page,
        &format!(
            "<section><h2>{title}</h2><div class=\"table\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\"><table><thead><tr>"
        ),
    );
    for (column, name) in header.iter().enumerate() {
        put(
            page,
            &format!("<th scope=\"col\"{}>{name}</th>", class(column)),
        );
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = match column {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td{}>{cell}</td>", class(column)),
            };
            page.push_str(&cell);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div></section>\n");
}

fn node_row(node: &NodeFacts) -> Vec<String> {
    let tone = match node.state {
        "up" => "up",
        "gone" => "gone",
        "draining" => "busy",
        _ => "silent",
    };
    let disk = node.disk.map_or_else(String::new, |(free, all)| {
        let used = all.saturating_sub(free);
        format!(
            "<meter min=\"0\" max=\"{all}\" high=\"{}\" value=\"{used}\" aria-label=\"used\"></meter>{} free",
            all / 10 * 9,
            bytes(free)
        )
    });
    let is_member = node.state != "gone";
    let only_if = |holds: bool, text: String| if holds { text } else { String::new() };
    vec![
        format!("n{}", node.number),
        format!("<span class=\"state is-{tone}\">{}</span>", node.state),
        escape(&node.place),
        escape(node.address.trim_start_matches("http://")),
        only_if(is_member, node.tablets.to_string()),
        only_if(is_member, node.leads.to_string()),
        only_if(node.uptime_ms.is_some(), bytes(node.bytes)),
        only_if(node.uptime_ms.is_some(), node.behind.to_string()),
        only_if(node.uptime_ms.is_some(), bytes(node.log_bytes)),
        disk,
        only_if(is_member, node.role.to_owned()),
        node.uptime_ms.map_or_else(String::new, uptime),
    ]
}

fn tablet_row(tablet: &TabletFacts) -> Vec<String> {
    let chip = |replica: &ReplicaFacts| {
        let mut class = "chip".to_owned();
        let mut note = String::new();
        for (name, word, applies) in [
            ("leads", "leads", replica.leads),
            ("silent", "does not answer", replica.is_silent),
            ("leaves", "leaves", replica.leaves),
        ] {
            if applies {
                class.extend([" ", name]);
                note.extend([", ", word]);
            }
        }
        let mut text = format!("n{}", replica.node);
        if replica.leaves {
            text.push_str(" leaves");
        }
        if replica.behind > 0 {
            put(&mut text, &format!(" \u{2212}{}", replica.behind));
            put(&mut note, &format!(", {} entries behind", replica.behind));
        }
        format!(
            "<li class=\"{class}\" title=\"n{}{note}\">{text}</li>",
            replica.node
        )
    };
    let chips: String = tablet.replicas.iter().map(chip).collect();
    let (tone, state) = if tablet.replicas.iter().all(|replica| !replica.leads) {
        ("silent", "no leader")
    } else if tablet.is_settled {
        ("up", "settled")
    } else {
        ("busy", "moving")
    };
    let tokens = u128::from(tablet.last_token.saturating_sub(tablet.first_token)) + 1;
    // Of sixty-four bits of tokens, in tenths of a percent.
    let tenths = (tokens * 1000) >> 64;
    vec![
        tablet.group.to_string(),
        format!("{}.{} %", tenths / 10, tenths % 10),
        format!("<ul class=\"chips\">{chips}</ul>"),
        format!("<span class=\"state is-{tone}\">{state}</span>"),
        tablet.applied.to_string(),
        tablet.bytes.map_or_else(String::new, bytes),
    ]
}

/// A time as a person says it, in the two largest units.
fn uptime(milliseconds: u64) -> String {
    let minutes = milliseconds / 60_000;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{} s", milliseconds / 1000),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The time of day.
fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        let entity = match letter {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            other => {
                escaped.push(other);
                continue;
            }
        };
        escaped.push_str(entity);
    }
    escaped
}

fn put(page: &mut String, text: &str) {
    page.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_shown_as_text_and_times_as_people_say_them() {
        assert_eq!(
            escape("<b a='1' c=\"2\">R&D</b>"),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;R&amp;D&lt;/b&gt;"
        );
        for (milliseconds, said) in [
            (59_999, "59 s"),
            (60_000, "1 min"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(uptime(milliseconds), said);
        }
        assert_eq!(clock(1_000_000_000_000), "01:46:40");
        assert_eq!(capital("node n1"), "Node n1");
    }
}
