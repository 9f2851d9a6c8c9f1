//! Why an event is not done. Names and order of precedence are those of TigerBeetle's [result codes].
//!
//! [result codes]: https://docs.tigerbeetle.com/reference/requests/create_transfers/

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// Why an event is not done. Where several reasons apply, the first of this list is given.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
        #[repr(u8)]
        pub enum Refusal {
            $($(#[doc = $doc])* #[error($name)] $variant = $code,)*
        }

        impl Refusal {
            /// Every reason, in order of precedence.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name, such as `exceeds_credits`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number that stands for it in the journal.
            #[must_use]
            pub fn code(self) -> u8 {
                self as u8
            }

            /// The reason of a number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

refusals! {
    /// Another event of its chain was refused or a repetition.
    LinkedEventFailed = 1, "linked_event_failed";
    /// An id is 0.
    IdMustNotBeZero = 2, "id_must_not_be_zero";
    /// An id is the largest number.
    IdMustNotBeIntMax = 3, "id_must_not_be_int_max";
    /// The id was used for something else.
    ExistsWithDifferentFlags = 4, "exists_with_different_flags";
    /// The id ended another hold.
    ExistsWithDifferentPendingId = 5, "exists_with_different_pending_id";
    /// The id held for another time.
    ExistsWithDifferentTimeout = 6, "exists_with_different_timeout";
    /// The id took from another account.
    ExistsWithDifferentDebitAccountId = 7, "exists_with_different_debit_account_id";
    /// The id gave to another account.
    ExistsWithDifferentCreditAccountId = 8, "exists_with_different_credit_account_id";
    /// The id moved another amount.
    ExistsWithDifferentAmount = 9, "exists_with_different_amount";
    /// The id was used with another reference.
    ExistsWithDifferentUserData128 = 10, "exists_with_different_user_data_128";
    /// The id was used in another unit.
    ExistsWithDifferentLedger = 11, "exists_with_different_ledger";
    /// The id was used with another code.
    ExistsWithDifferentCode = 12, "exists_with_different_code";
    /// The id was refused before, for a reason that could pass.
    IdAlreadyFailed = 13, "id_already_failed";
    /// The giving account is 0.
    DebitAccountIdMustNotBeZero = 14, "debit_account_id_must_not_be_zero";
    /// The giving account is the largest number.
    DebitAccountIdMustNotBeIntMax = 15, "debit_account_id_must_not_be_int_max";
    /// The receiving account is 0.
    CreditAccountIdMustNotBeZero = 16, "credit_account_id_must_not_be_zero";
    /// The receiving account is the largest number.
    CreditAccountIdMustNotBeIntMax = 17, "credit_account_id_must_not_be_int_max";
    /// Giver and receiver are one.
    AccountsMustBeDifferent = 18, "accounts_must_be_different";
    /// The hold is 0.
    PendingIdMustNotBeZero = 19, "pending_id_must_not_be_zero";
    /// The hold is the largest number.
    PendingIdMustNotBeIntMax = 20, "pending_id_must_not_be_int_max";
    /// The hold is the transfer itself.
    PendingIdMustBeDifferent = 21, "pending_id_must_be_different";
    /// The unit is 0.
    LedgerMustNotBeZero = 22, "ledger_must_not_be_zero";
    /// The code is 0.
    CodeMustNotBeZero = 23, "code_must_not_be_zero";
    /// There is no such giving account.
    DebitAccountNotFound = 24, "debit_account_not_found";
    /// There is no such receiving account.
    CreditAccountNotFound = 25, "credit_account_not_found";
    /// The accounts count in different units.
    AccountsMustHaveTheSameLedger = 26, "accounts_must_have_the_same_ledger";
    /// The transfer counts in another unit than its accounts.
    TransferMustHaveTheSameLedgerAsAccounts = 27, "transfer_must_have_the_same_ledger_as_accounts";
    /// There is no such hold.
    PendingTransferNotFound = 28, "pending_transfer_not_found";
    /// The transfer is none that holds.
    PendingTransferNotPending = 29, "pending_transfer_not_pending";
    /// More than what is held.
    ExceedsPendingTransferAmount = 30, "exceeds_pending_transfer_amount";
    /// The hold is settled.
    PendingTransferAlreadyPosted = 31, "pending_transfer_already_posted";
    /// The hold is voided.
    PendingTransferAlreadyVoided = 32, "pending_transfer_already_voided";
    /// The time of the hold is over.
    PendingTransferExpired = 33, "pending_transfer_expired";
    /// The time of the hold is not over: our own, for whoever asks to expire it.
    PendingTransferNotDue = 34, "pending_transfer_not_due";
    /// A sum would be too large.
    OverflowsDebitsPending = 35, "overflows_debits_pending";
    /// A sum would be too large.
    OverflowsCreditsPending = 36, "overflows_credits_pending";
    /// A sum would be too large.
    OverflowsDebitsPosted = 37, "overflows_debits_posted";
    /// A sum would be too large.
    OverflowsCreditsPosted = 38, "overflows_credits_posted";
    /// A sum would be too large.
    OverflowsDebits = 39, "overflows_debits";
    /// A sum would be too large.
    OverflowsCredits = 40, "overflows_credits";
    /// The hold would end behind the last moment.
    OverflowsTimeout = 41, "overflows_timeout";
    /// The giving account has less.
    ExceedsCredits = 42, "exceeds_credits";
    /// The receiving account owes less.
    ExceedsDebits = 43, "exceeds_debits";
}

impl Refusal {
    /// Whether the same event could succeed later. Its id is then spent: what was refused once cannot take effect when it
    /// comes again late, after its caller has given up.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::DebitAccountNotFound
                | Self::CreditAccountNotFound
                | Self::PendingTransferNotFound
                | Self::ExceedsCredits
                | Self::ExceedsDebits
        )
    }
}
