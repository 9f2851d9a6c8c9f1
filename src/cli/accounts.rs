//! What an operator can ask of accounts, keys and money.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use records::Scope;

use crate::backfill::moment::Moment;

/// Which accounts: those of the configuration.
#[derive(Args, Clone)]
pub struct AccountsAt {
    /// A TOML file whose [records] says where accounts are kept; without it, KANDLE_RECORDS__URL or the default.
    #[arg(long, value_name = "FILE", env = "KANDLE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON, one object a line, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
}

/// `kandle accounts`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    kandle accounts create ann@example.com --credit 10\n  \
    kandle accounts create bot@example.com --tier pro --password-stdin < password.txt\n  \
    kandle accounts show ann@example.com\n  \
    kandle accounts credit ann@example.com 25 --cause invoice-2024-117\n  \
    kandle accounts disable 42\n\n\
    Amounts are in KAI, with up to six decimals. These commands work on the database itself, also beside a running server,\n\
    which follows within a second.")]
pub struct AccountsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AccountsCommand,
    /// Where they are.
    #[command(flatten)]
    pub at: AccountsAt,
}

/// The commands of `kandle accounts`.
#[derive(Subcommand)]
pub enum AccountsCommand {
    /// Make a user, with or without a password.
    Create {
        /// The e-mail address.
        email: String,
        /// The tier; that of new users if none is named.
        #[arg(long, value_name = "NAME")]
        tier: Option<String>,
        /// What the user is given at once.
        #[arg(long, value_name = "KAI", default_value = "0")]
        credit: String,
        /// Read a password from standard input; without one, only keys let the user in.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all users.
    List,
    /// Show a user: tier, balance, what was spent in 30 days, keys.
    Show {
        /// The number or e-mail address.
        user: String,
    },
    /// Give money to a user.
    Credit {
        /// The number or e-mail address.
        user: String,
        /// How much.
        #[arg(value_name = "KAI")]
        amount: String,
        /// What it is for: the same cause gives only once.
        #[arg(long, value_name = "TEXT")]
        cause: String,
    },
    /// Take money from a user.
    Debit {
        /// The number or e-mail address.
        user: String,
        /// How much.
        #[arg(value_name = "KAI")]
        amount: String,
        /// What it is for: the same cause takes only once.
        #[arg(long, value_name = "TEXT")]
        cause: String,
    },
    /// Give a user another tier.
    SetTier {
        /// The number or e-mail address.
        user: String,
        /// A tier of the configuration.
        tier: String,
    },
    /// Keep a user out: keys and tokens are refused, streams end within a second.
    Disable {
        /// The number or e-mail address.
        user: String,
    },
    /// Let a user in again.
    Enable {
        /// The number or e-mail address.
        user: String,
    },
}

/// `kandle keys`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    kandle keys create --user ann@example.com --name my-bot\n  \
    kandle keys create --user 42 --name ci --scope read --expires 2027-01-01 --cap 5 --allow 192.0.2.0/24\n  \
    kandle keys list --user ann@example.com\n  \
    kandle keys revoke 7\n\n\
    A key is printed once and is nowhere else: only its hash is kept.")]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Where they are.
    #[command(flatten)]
    pub at: AccountsAt,
}

/// The commands of `kandle keys`.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it.
    Create {
        /// Whose it is: the number or e-mail address.
        #[arg(long)]
        user: String,
        /// What it is called.
        #[arg(long)]
        name: String,
        /// What it allows, and with it all below.
        #[arg(long, value_enum, default_value_t = ScopeName::Write)]
        scope: ScopeName,
        /// When it ends: a date, or a time in RFC 3339.
        #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
        expires: Option<Moment>,
        /// What it may ever spend.
        #[arg(long, value_name = "KAI")]
        cap: Option<String>,
        /// An address or network that it may come from; may be given several times.
        #[arg(long, value_name = "CIDR")]
        allow: Vec<String>,
    },
    /// List the keys of a user.
    List {
        /// The number or e-mail address.
        #[arg(long)]
        user: String,
    },
    /// Revoke a key: its streams end within a second.
    Revoke {
        /// The number of the key, as `list` shows it.
        key: u64,
    },
}

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeName {
    /// To look.
    Read,
    /// To do, and to spend.
    Write,
    /// To change who may.
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Write => Self::Write,
            ScopeName::Admin => Self::Admin,
        }
    }
}

/// `kandle ledger`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    kandle ledger verify\n  \
    kandle ledger statement --user ann@example.com --from 2024-01-01 --to 2024-02-01 > january.csv")]
pub struct LedgerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LedgerCommand,
    /// Where it is.
    #[command(flatten)]
    pub at: AccountsAt,
}

/// The commands of `kandle ledger`.
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Recompute the whole journal and compare it with all balances; the exit code is 1 if anything is wrong.
    Verify {
        /// What an earlier verify printed: also proves that nothing before it was changed.
        #[arg(long, value_name = "NUMBER:TIME:HASH")]
        head: Option<String>,
    },
    /// Write what a user's balance was moved by, as CSV.
    Statement {
        /// The number or e-mail address.
        #[arg(long)]
        user: String,
        /// Its beginning: a date, or a time in RFC 3339.
        #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
        from: Option<Moment>,
        /// Its end, which is not part of it.
        #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
        to: Option<Moment>,
    },
}
