//! The problems that certificate and configuration can have. The metric, the Events and the log all use their codes.
//!
//! Not here: when a problem is found ([`super::findings`]).

/// Makes the enum from one row for each problem: name, code, and what the API server does about it.
macro_rules! problems {
    ($($name:ident $code:literal $consequence:ident)+) => {
        /// What is wrong with certificate or configuration. Metric label and Event are named after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Problem {
            $(#[doc = concat!("`", $code, "`")] $name,)+
        }

        impl Problem {
            /// Every problem.
            pub const ALL: &[Problem] = &[$(Problem::$name,)+];

            /// The code in metric, Events and log. It never changes.
            pub fn code(self) -> &'static str {
                match self { $(Problem::$name => $code,)+ }
            }

            fn consequence(self) -> Consequence {
                match self { $(Problem::$name => Consequence::$consequence,)+ }
            }
        }
    };
}

/// What the API server does about a problem.
#[derive(PartialEq)]
enum Consequence {
    Refuses,
    /// It calls the webhook, or may: without a `caBundle` it trusts the CAs of its own host.
    Asks,
}

problems! {
    CertificateWithoutNames  "certificate-without-names"   Refuses
    CertificateForOtherName  "certificate-for-other-name"  Refuses
    CertificateVersion1      "certificate-version-1"       Refuses
    CertificateNotForServers "certificate-not-for-servers" Refuses
    CertificateNotYetValid   "certificate-not-yet-valid"   Refuses
    CertificateEndsIn30Days  "certificate-ends-in-30-days" Asks
    CertificateEndsIn7Days   "certificate-ends-in-7-days"  Asks
    CertificateEndsIn1Day    "certificate-ends-in-1-day"   Asks
    CertificateEnded         "certificate-ended"           Refuses
    CaMissing                "ca-missing"                  Asks
    CaUnreadable             "ca-unreadable"               Refuses
    CaIsAnother              "ca-is-another"               Refuses
    CaNotYetValid            "ca-not-yet-valid"            Refuses
    CaEndsIn30Days           "ca-ends-in-30-days"          Asks
    CaEndsIn7Days            "ca-ends-in-7-days"           Asks
    CaEndsIn1Day             "ca-ends-in-1-day"            Asks
    CaEnded                  "ca-ended"                    Refuses
    ConfigurationMissing     "configuration-missing"       Asks
    ConfigurationUnreadable  "configuration-unreadable"    Asks
    ConditionsMissing        "conditions-missing"          Asks
    NothingDefers            "nothing-defers"              Asks
    TokensWithoutNode        "tokens-without-node"         Asks
}

impl Problem {
    /// Whether the API server does not call a webhook that has this problem.
    pub(super) fn is_refused(self) -> bool {
        self.consequence() == Consequence::Refuses
    }
}
