//! The command line as a whole: every example legal, every command named, wrong ones refused.

use super::*;
use clap::CommandFactory;

/// The words of an example line up to a pipe or redirection, quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (None, '|' | '>') => break,
            (_, c) => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn check_examples(command: &clap::Command, checked: &mut usize) {
    let help = command.get_after_help().unwrap_or_else(|| panic!("{} has no example", command.get_name())).to_string();
    let (_, examples) = help
        .rsplit_once("Example:\n")
        .unwrap_or_else(|| panic!("{}'s help does not end in an example", command.get_name()));
    for line in examples.lines() {
        let words = words(line.trim());
        assert_eq!(words[0], "edgectl", "{line}");
        if command.get_name() != "edgectl" {
            assert!(words.iter().any(|word| word == command.get_name()), "{line}");
        }
        if let Err(error) = Cli::try_parse_from(&words) {
            panic!("{line}: {error}");
        }
        *checked += 1;
    }
    for sub in command.get_subcommands() {
        check_examples(sub, checked);
    }
}

#[test]
fn every_example_in_every_help_is_legal() {
    let mut checked = 0;
    check_examples(&Cli::command(), &mut checked);
    assert!(checked >= 50, "only {checked} examples");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_commands_of_this_issue_are_there_and_no_others() {
    let command = Cli::command();
    let mut names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    names.sort_unstable();
    let mut expected: Vec<&str> = "create-vm list-vms show-vm update-vm remove-vm start-vm stop-vm restart-vm \
        pause-vm unpause-vm show-vm-events show-vm-logs show-vm-manifest show-guest-info show-login-users \
        create-image list-images show-image update-image upload-image remove-image create-flavor list-flavors \
        show-flavor update-flavor remove-flavor create-keypair list-keypairs list-leases show-keypair update-keypair \
        remove-keypair list-nodes show-node update-node cordon-node uncordon-node list-vols show-vol show-vol-events \
        show-image-events show-flavor-events show-keypair-events show-lease show-lease-events show-node-events watch-vms api config completion \
        create-webhook list-webhooks show-webhook update-webhook rotate-webhook-secret remove-webhook \
        show-webhook-events version diff explain history replay verify-log watch backup verify-backup restore \
        reconcile force-remove adopt what-if undo archive \
        create-network list-networks show-network update-network remove-network show-network-events \
        create-sg list-sgs show-sg update-sg remove-sg show-sg-events edit-vm-sg edit-vm-nic attach-nic detach-nic \
        create-sgr list-sgrs show-sgr update-sgr remove-sgr show-sgr-events \
        create-router list-routers show-router update-router remove-router show-router-events create-peer-router \
        remove-peer-router \
        create-fip list-fips show-fip update-fip remove-fip show-fip-events associate-fip disassociate-fip \
        create-lb list-lbs show-lb update-lb remove-lb show-lb-events create-lbr remove-lbr \
        test-ping trace-packet network-cli"
        .split_whitespace()
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    for (line, code) in [
        ("edgectl", 2),
        ("edgectl create-vm", 2),
        ("edgectl show-vm ..", 2),
        ("edgectl list-vms --label nope", 2),
        ("edgectl list-vms -o xml", 2),
        ("edgectl stop-vm a --force --grace-seconds 3", 2),
        ("edgectl update-vm a", 2),
        ("edgectl remove-vm", 2),
        ("edgectl create-image a", 2),
        ("edgectl create-network a", 2),
        ("edgectl create-network a --cidr 10.0.0.0/24 --ip-pool 10.0.0.5", 2),
        ("edgectl create-network a --cidr 10.0.0.0/24 --gateway-ip 10.0.0.1 --no-gateway", 2),
        ("edgectl update-network a", 2),
        ("edgectl create-vm a --image i --flavor f --network blue,10.0.0.5", 2),
        ("edgectl create-image a --file x --path /x", 2),
        ("edgectl create-vm a --image i --flavor f --security-group web", 2),
        ("edgectl create-vm a --image i --flavor f --network blue,sg=", 2),
        ("edgectl create-sg a --rule ingress --no-rules", 2),
        ("edgectl create-sg a --rule tcp,22", 2),
        ("edgectl create-sgr web", 2),
        ("edgectl create-sgr web --direction both", 2),
        ("edgectl create-sgr web --direction ingress --port 22-", 2),
        ("edgectl create-sgr web --direction ingress --remote-ip-prefix 10.0.0.0/8 --remote-group a", 2),
        ("edgectl create-router a --external-ip 192.0.2.5", 2),
        ("edgectl create-router a --route 10.9.0.0/16", 2),
        ("edgectl update-router a", 2),
        ("edgectl update-router a --network b --attach c", 2),
        ("edgectl update-router a --external-network b --no-external", 2),
        ("edgectl create-peer-router a --ip 192.0.2.254", 2),
        ("edgectl create-fip --fixed-ip 10.0.0.2", 2),
        ("edgectl associate-fip a", 2),
        ("edgectl associate-fip a b --lb c", 2),
        ("edgectl associate-fip a --lb b --fixed-ip 10.0.0.2", 2),
        ("edgectl create-fip --vm a --lb b", 2),
        ("edgectl create-lb a", 2),
        ("edgectl create-lb a --network b --rule tcp", 2),
        ("edgectl create-lb a --network b --check-interval 5", 2),
        ("edgectl update-lb a", 2),
        ("edgectl update-lb a --member b --add c", 2),
        ("edgectl update-lb a --health-check --no-health-check", 2),
        ("edgectl create-lbr a", 2),
        ("edgectl create-lbr a --protocol tcp --port 9-8", 2),
        ("edgectl remove-lbr a", 2),
        ("edgectl update-sg a", 2),
        ("edgectl edit-vm-sg a", 2),
        ("edgectl edit-vm-sg a --nic 0", 2),
        ("edgectl edit-vm-sg a --set web --clear", 2),
        ("edgectl edit-vm-nic a", 2),
        ("edgectl edit-vm-nic a --port-security maybe", 2),
        ("edgectl attach-nic a", 2),
        ("edgectl attach-nic a --network blue,group=web", 2),
        ("edgectl detach-nic a", 2),
        ("edgectl detach-nic a --nic 1 --network blue", 2),
        ("edgectl start-vm a --timeout 0", 2),
        ("edgectl --help", 0),
        ("edgectl show-vm --help", 0),
        ("edgectl --version", 0),
    ] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), code, "{line}: {error}");
    }
}

#[test]
fn the_last_of_wait_and_no_wait_wins() {
    for (line, waits) in [
        ("edgectl start-vm a", true),
        ("edgectl start-vm a --no-wait", false),
        ("edgectl start-vm a --no-wait --wait", true),
        ("edgectl start-vm a --wait --no-wait", false),
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Vm(VmCommand::StartVm(args)) = cli.command else {
            panic!("{line}");
        };
        assert_eq!(args.wait.patience().is_some(), waits, "{line}");
    }
}
