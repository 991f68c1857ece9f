//! The flags of kured 1.23.0, and how each differs here. The agent's page of flags repeats it.
//!
//! Not here: what becomes of a flag's value ([`super::Plan`]).

/// A flag of kured's, which the agent has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KuredFlag {
    /// Its name, without hyphens before it.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// How the agent does better, on purpose; `None`: it does the same.
    pub differs: Option<&'static str>,
}

/// What the value of a flag is (pflag's types, taken together as a chart writes them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True without a value.
    Switch,
    /// Several texts: the flag is repeated.
    List,
}

macro_rules! flags {
    ($($name:literal $kind:ident $(: $differs:literal)?)+) => {
        /// All flags, in kured's order.
        pub const FLAGS: &[KuredFlag] = &[$(KuredFlag {
            name: $name,
            kind: Kind::$kind,
            differs: differs!($($differs)?),
        },)+];
    };
}

macro_rules! differs {
    () => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

flags! {
    "node-id"                      Text: "must be a valid name of a Node"
    "force-reboot"                 Switch: "skips only the check for pods, and only after `--drain-timeout`; a value needs `=`, as for every on/off flag: `--force-reboot false` is refused, in kured it means true"
    "metrics-host"                 Text: "an IPv6 address needs no brackets; with an IP address, 127.0.0.1 is served as well; an address that cannot be bound is tried again"
    "metrics-port"                 Number: "0 serves none"
    "drain-grace-period"           Number: "the variable takes hexadecimal and octal numbers too, as for every number"
    "drain-pod-selector"           Text
    "skip-wait-for-delete-timeout" Number
    "drain-delay"                  Text: "waits between the cordon and the first eviction, in kured before the cordon, while pods still land; negative durations are refused, for this and every other flag"
    "drain-timeout"                Text: "a refused eviction is tried again until then, in kured a webhook that refuses one ends the drain at once"
    "reboot-delay"                 Text: "the node is watched meanwhile and checked at the end"
    "reboot-method"                Text: "also `logind` and `auto`; `signal` is refused where PID 1 is not the host's init; if the host does not go down, the agent reports it, with each method"
    "reboot-command"               Text: "if it fails the node is drained again, in kured the process ends; if it has not failed after a minute, it counts as accepted"
    "reboot-signal"                Number: "checked at the start: a number that is no signal is refused"
    "period"                       Text: "0 is refused; the first check comes at once, and watches wake the agent earlier where they can"
    "ds-namespace"                 Text
    "ds-name"                      Text
    "lock-annotation"              Text
    "lock-ttl"                     Text: "has no effect: an entry ends by what its Node shows, never by time"
    "lock-release-delay"           Text: "survives a restart of the agent; no delay if no reboot happened"
    "prometheus-url"               Text
    "alert-filter-regexp"          Text: "an empty expression ignores no alert, in kured it ignores every alert; `\\Q`, `\\p` and octal escapes are refused"
    "alert-filter-match-only"      Switch
    "alert-firing-only"            Switch
    "reboot-sentinel"              Text: "symlinks are followed as on the host; a directory of that name asks for nothing"
    "reboot-sentinel-command"      Text: "if it gives no answer, that neither asks for a reboot nor calls one off, and the log says so once; in kured no answer means no, or ends the process; a command that hangs is killed"
    "prefer-no-schedule-taint"     Text: "on the node from the wish on, also outside of the window, removed however the reboot ends"
    "concurrency"                  Number: "also a percentage; 0 is refused"
    "slack-hook-url"               Text: "deprecated; warns of a URL that is no webhook, to which nothing is sent, as in kured"
    "slack-username"               Text: "deprecated; warns that it has no effect"
    "slack-channel"                Text: "deprecated; warns that it has no effect"
    "notify-url"                   Text: "checked at the start, as far as the service's URL goes; may be repeated; sent beside the loop, so a receiver that hangs delays nothing; never printed; see [operating.md](operating.md#messages-to-people)"
    "message-template-drain"       Text: "a text without one `%s` is refused"
    "message-template-reboot"      Text: "a text without one `%s` is refused"
    "message-template-uncordon"    Text: "a text without one `%s` is refused"
    "blocking-pod-selector"        List: "has a variable, with `;` between selectors; an empty selector, which would always block, is refused"
    "reboot-days"                  List: "a list without a day is refused, in kured no reboot would ever begin"
    "start-time"                   Text: "`5:00pm` works, as kured's manual says"
    "end-time"                     Text: "`5:00pm` works, as kured's manual says; the window is asked again right before the reboot"
    "time-zone"                    Text: "needs no zone files in the image"
    "annotate-nodes"               Switch: "written in the same write as the wish, so no other change of the Node is lost; weave.works/kured-reboot-in-progress is removed however the wish ends"
    "log-format"                   Text: "warns of an unknown word; with json every line is JSON"
    "pre-reboot-node-labels"       List: "checked at the start; put back as they were if the reboot is called off"
    "post-reboot-node-labels"      List: "checked at the start; also put on a node that stays cordoned"
}

impl KuredFlag {
    /// The flag of this name.
    pub fn named(name: &str) -> Option<&'static KuredFlag> {
        FLAGS.iter().find(|flag| flag.name == name)
    }

    /// Its variable.
    pub fn variable(&self) -> String {
        format!("KURED_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Its key below `configuration` in kured's chart and in ours: `reboot-delay` is `rebootDelay`.
    pub fn key(&self) -> String {
        let mut words = self.name.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |key, word| {
            let mut letters = word.chars();
            let initial = letters.next().map(|letter| letter.to_ascii_uppercase());
            key + &initial.into_iter().chain(letters).collect::<String>()
        })
    }
}
