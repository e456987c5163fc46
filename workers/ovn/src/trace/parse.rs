//! The output of `ovn-trace --detailed`; ovn-trace(8), "Detailed Output".

use super::{Section, Stage};

pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let words = line.trim();
        // A heading is underlined.
        let is_underlined = lines.peek().is_some_and(|next| {
            let next = next.trim();
            !next.is_empty() && next.bytes().all(|byte| byte == b'-')
        });
        if words.is_empty() || words.starts_with("# ") {
            continue;
        }
        if is_underlined {
            lines.next();
            let around = sections.last();
            let new = section(words);
            // What an action makes of a packet happens where the packet is.
            let new = match around {
                Some(around) if new.datapath.is_none() => Section {
                    datapath: around.datapath.clone(),
                    inport: around.inport.clone(),
                    outport: around.outport.clone(),
                    ..new
                },
                Some(_) | None => new,
            };
            sections.push(new);
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        match stage(words) {
            Some(stage) => section.stages.push(stage),
            None => match section.stages.last_mut() {
                Some(stage) => stage.actions.push(words.to_owned()),
                // What an action does to a packet of its own has no table.
                None => section.stages.push(Stage {
                    name: section.name.clone(),
                    matches: Some(String::new()),
                    actions: vec![words.to_owned()],
                }),
            },
        }
    }
    sections
}

/// `egress(dp="a", inport="b", outport="c")`
fn section(heading: &str) -> Section {
    let (name, arguments) = heading.split_once('(').unwrap_or((heading, ""));
    let argument = |key: &str| {
        let begin = format!("{key}=\"");
        let at = arguments.find(&begin)? + begin.len();
        arguments.get(at..)?.split('"').next().map(str::to_owned)
    };
    let (datapath, inport, outport) = (argument("dp"), argument("inport"), argument("outport"));
    Section { name: name.to_owned(), datapath, inport, outport, stages: vec![] }
}

/// `8. ls_in_acl (northd.c:6445): MATCH, priority 2002, uuid 8d757752`, or `13. lr_in_ip_routing: no match (implicit drop)`
fn stage(words: &str) -> Option<Stage> {
    let (number, rest) = words.split_once(". ")?;
    number.parse::<u8>().ok()?;
    let (place, what) = rest.split_once(": ")?;
    let name = place.split(' ').next()?.to_owned();
    let matches = what.rfind(", priority ").and_then(|at| what.get(..at)).map(str::to_owned);
    Some(Stage { name, matches, actions: vec![] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROPPED: &str = r#"# icmp,reg14=0x2

ingress(dp="edgestack-blue", inport="a-0")
------------------------------------------
 0. ls_in_check_port_sec (northd.c:8432): 1, priority 50, uuid 96546546
    reg0[15] = check_in_port_sec();
    next;
 6. ls_in_pre_stateful (northd.c:6140): reg0[0] == 1, priority 100, uuid b5c18d3b
    ct_next;

ct_next(ct_state=new|trk)
-------------------------
 8. ls_in_acl (northd.c:6543): reg0[9] == 1 && (inport == @edgestack_1 && ip), priority 2001, uuid 8d757752
    /* drop */
"#;
    const DELIVERED: &str = r#"# icmp

ingress(dp="r", inport="p")
---------------------------
13. lr_in_ip_routing (northd.c:1): ip4.dst == 10.1.0.0/24, priority 74, uuid 753d38c5
    ip.ttl--;
21. lr_in_arp_request (northd.c:2): eth.dst == 00:00:00:00:00:00 && ip4, priority 100, uuid 310badbc
    arp { eth.dst = ff:ff:ff:ff:ff:ff; output; };

arp
---
    eth.dst = ff:ff:ff:ff:ff:ff;
    output;

multicast(dp="out", mcgroup="_MC_flood_l2")
-------------------------------------------

    egress(dp="out", inport="q", outport="l")
    -----------------------------------------
         9. ls_out_apply_port_sec (northd.c:5777): 1, priority 0, uuid de4fa42e
            output;
            /* output to "l", type "localnet" */
"#;

    #[test]
    fn a_dropped_packet_ends_in_the_stage_that_dropped_it() {
        let sections = sections(DROPPED);
        assert_eq!(sections.iter().map(|section| section.name.as_str()).collect::<Vec<_>>(), ["ingress", "ct_next"]);
        assert_eq!(sections[0].datapath.as_deref(), Some("edgestack-blue"));
        assert_eq!(sections[0].inport.as_deref(), Some("a-0"));
        assert_eq!(sections[1].inport.as_deref(), Some("a-0"), "where the packet was");
        let last = &sections[1].stages[0];
        assert_eq!(last.name, "ls_in_acl");
        assert_eq!(last.matches.as_deref(), Some("reg0[9] == 1 && (inport == @edgestack_1 && ip)"));
        assert!(last.drops());
        assert!(!sections[0].stages[0].drops());
    }

    #[test]
    fn sections_within_sections_and_actions_without_a_table_are_read() {
        let sections = sections(DELIVERED);
        let names: Vec<_> = sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, ["ingress", "arp", "multicast", "egress"]);
        assert_eq!(sections[1].stages[0].actions.len(), 2);
        assert_eq!(sections[3].outport.as_deref(), Some("l"));
        assert_eq!(sections[3].stages[0].outputs().collect::<Vec<_>>(), [("l", "localnet")]);
    }

    #[test]
    fn no_flow_is_a_drop() {
        let text = "ingress(dp=\"r\", inport=\"p\")\n---\n13. lr_in_ip_routing: no match (implicit drop)\n";
        let sections = sections(text);
        assert!(sections[0].stages[0].drops());
        assert_eq!(sections[0].stages[0].matches, None);
    }
}
