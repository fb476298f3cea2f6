//! The guide: how to use lastword, as a daemon and as a library.
//!
//! | page | read it for |
//! | --- | --- |
//! | [`endings`] | what a record says, and how a connection is closed |
//! | [`closing_handshake`] | every transition of the state machine, and each MUST with its test |
//! | [`admission`] | who may connect: tokens, HTTP endpoints, expiry |
//! | [`relay`] | lastword in front of an application |
//! | [`dialers`] | outbound connections that are kept alive |
//! | [`configuration`] | the layers of the configuration, and every key |
//! | [`reload`] | what a reload changes, and what needs a restart |
//! | [`commands`] | the command line, and its exit codes |
//! | [`probe`] | testing how any WebSocket server closes |
//! | [`control_api`] | the HTTP API, and events |
//! | [`page`] | the page in the browser: looking, closing, draining |
//! | [`revocation`] | closing and refusing a subject or a token; one connection per subject |
//! | [`ledger`] | where endings are kept, and what happens when something fails |
//! | [`metrics`] | Prometheus, and the accounting identity |
//! | [`production`] | from a fresh Debian to a service that is hardened and observed; balancers; sizing |
//! | [`stopping`] | signals, drains |
//! | [`service`] | systemd and containers: restarts without a refused connection, hardening |
//! | [`security`] | doors and who could come through them, tokens, TLS, web pages, masking, hostile peers |
//! | [`under_attack`] | each attack and fault, and what it did to memory and to others |
//! | [`library`] | embedding the supervisor in a program |
//! | [`benchmarks`] | what was measured, and beside what |
//! | [`tests`] | how all of this is tested |
//!
//! This module has no code. Its pages are Markdown files in `src/guide/`; the tests run their examples and
//! compare their tables with the code.

/// Declares a page. The links between pages are defined first, so that here they lead to modules; the
/// definitions in the files lead to files.
macro_rules! page {
    ($(#[$summary:meta])* $name:ident, $text:expr) => {
        $(#[$summary])*
        ///
        /// [admission]: crate::guide::admission
        /// [benchmarks]: crate::guide::benchmarks
        /// [commands]: crate::guide::commands
        /// [configuration]: crate::guide::configuration
        /// [control_api]: crate::guide::control_api
        /// [dialers]: crate::guide::dialers
        /// [ledger]: crate::guide::ledger
        /// [library]: crate::guide::library
        /// [metrics]: crate::guide::metrics
        /// [probe]: crate::guide::probe
        /// [page]: crate::guide::page
        /// [production]: crate::guide::production
        /// [relay]: crate::guide::relay
        /// [reload]: crate::guide::reload
        /// [revocation]: crate::guide::revocation
        /// [security]: crate::guide::security
        /// [service]: crate::guide::service
        /// [stopping]: crate::guide::stopping
        /// [tests]: crate::guide::tests
        /// [under_attack]: crate::guide::under_attack
        ///
        #[doc = $text]
        pub mod $name {}
    };
}

page!(
    /// What a record says, and how a connection is closed.
    endings, include_str!("guide/endings.md")
);
page!(
    /// Every transition of the closing handshake, and each MUST of RFC 6455 with its test.
    closing_handshake, include_str!("guide/closing_handshake.md")
);
page!(
    /// Who may connect: tokens, HTTP endpoints, expiry.
    admission, include_str!("guide/admission.md")
);
page!(
    /// lastword in front of an application.
    relay, include_str!("guide/relay.md")
);
page!(
    /// Outbound connections that are kept alive.
    dialers, include_str!("guide/dialers.md")
);
page!(
    /// The layers of the configuration, and every key.
    configuration,
    concat!(
        include_str!("guide/configuration.md"),
        "\n## The whole file\n\nEvery key is shown with its default.\n\n```toml\n",
        include_str!("../config/lastword.toml"),
        "```\n"
    )
);
page!(
    /// What a reload changes, and what needs a restart.
    reload, include_str!("guide/reload.md")
);
page!(
    /// The command line, and its exit codes.
    commands, include_str!("guide/commands.md")
);
page!(
    /// Testing how any WebSocket server closes.
    probe, include_str!("guide/probe.md")
);
page!(
    /// The HTTP API, and events.
    control_api, include_str!("guide/control_api.md")
);
page!(
    /// The page in the browser: looking, closing, draining.
    page, include_str!("guide/page.md")
);
page!(
    /// Closing and refusing a subject or a token; one connection per subject.
    revocation, include_str!("guide/revocation.md")
);
page!(
    /// Where endings are kept, and what happens when something fails.
    ledger, include_str!("guide/ledger.md")
);
page!(
    /// Prometheus, and the accounting identity.
    metrics, include_str!("guide/metrics.md")
);
page!(
    /// From a fresh Debian to a service that is hardened and observed; balancers; sizing.
    production, include_str!("guide/production.md")
);
page!(
    /// Signals, drains.
    stopping, include_str!("guide/stopping.md")
);
page!(
    /// systemd and containers: restarts without a refused connection, hardening.
    service, include_str!("guide/service.md")
);
page!(
    /// Tokens, web pages, masking, hostile peers.
    security, include_str!("guide/security.md")
);
page!(
    /// Each attack and fault, and what it did to memory and to others.
    under_attack, include_str!("guide/under_attack.md")
);
page!(
    /// Embedding the supervisor in a program.
    library, include_str!("guide/library.md")
);
page!(
    /// What was measured, and beside what.
    benchmarks, include_str!("guide/benchmarks.md")
);
page!(
    /// How all of this is tested.
    tests, include_str!("guide/tests.md")
);
