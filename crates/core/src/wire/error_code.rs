//! The numbers of the error classes, as ERROR and ENDED records carry them.

use super::WireError;

/// The class of an error; the comment gives the JavaScript class and its `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `SqlError`, `SQL_ERROR`: SQLite refused the statement.
    Sql = 1,
    /// `ConstraintError`, `CONSTRAINT`.
    Constraint = 2,
    /// `BusyError`, `BUSY`: another connection held its lock for too long.
    Busy = 3,
    /// `ReadOnlyTransactionError`, `READ_ONLY_TRANSACTION`: a write in a read transaction.
    ReadOnlyTransaction = 4,
    /// `TransactionClosedError`, `TRANSACTION_CLOSED`: the transaction is over.
    TransactionClosed = 5,
    /// `TransactionAbortedError`, `TRANSACTION_ABORTED`: SQLite rolled the transaction back by itself.
    TransactionAborted = 6,
    /// `UnfinishedQueryError`, `UNFINISHED_QUERY`: the transaction ended before the statement did.
    UnfinishedQuery = 7,
    /// `QueueFullError`, `QUEUE_FULL`.
    QueueFull = 8,
    /// `QueueTimeoutError`, `QUEUE_TIMEOUT`.
    QueueTimeout = 9,
    /// `CommitOutcomeUnknownError`, `COMMIT_OUTCOME_UNKNOWN`.
    CommitOutcomeUnknown = 10,
    /// `DatabaseClosedError`, `DATABASE_CLOSED`.
    DatabaseClosed = 11,
    /// `OptionsConflictError`, `OPTIONS_CONFLICT`: the file is open with other options.
    OptionsConflict = 12,
    /// `EnginePanicError`, `ENGINE_PANIC`: a defect of the engine.
    EnginePanic = 13,
    /// `CorruptDatabaseError`, `CORRUPT_DATABASE`.
    CorruptDatabase = 14,
    /// `NotADatabaseError`, `NOT_A_DATABASE`.
    NotADatabase = 15,
    /// `ParameterError`, `PARAMETER`: wrong count or unknown name.
    Parameter = 16,
    /// `StatementError`, `STATEMENT`: two statements, or none.
    Statement = 17,
    /// `StatementNotAllowedError`, `STATEMENT_NOT_ALLOWED`: BEGIN, ATTACH and others that the engine does itself.
    StatementNotAllowed = 18,
    /// `CannotOpenError`, `CANNOT_OPEN`.
    CannotOpen = 19,
    /// `IoError`, `IO`.
    Io = 20,
    /// `TransactionTimeoutError`, `TRANSACTION_TIMEOUT`.
    TransactionTimeout = 21,
    /// `AbortError`, `ABORT_ERR`.
    Abort = 22,
    /// `StatementInFlightError`, `STATEMENT_IN_FLIGHT`: `tx.sync` beside an asynchronous statement.
    StatementInFlight = 23,
    /// `ProtocolError`, `PROTOCOL`: a malformed record, a defect of either side.
    Protocol = 24,
    /// `ReadOnlyDatabaseError`, `READ_ONLY_DATABASE`.
    ReadOnlyDatabase = 25,
    /// `TooLargeError`, `TOO_LARGE`.
    TooLarge = 26,
    /// `ProcessExitingError`, `PROCESS_EXITING`.
    ProcessExiting = 27,
    /// `OptionError`, `INVALID_OPTION`.
    Option = 28,
    /// `InterruptedError`, `INTERRUPTED`: teardown interrupted the statement.
    Interrupted = 29,
    /// `MigrationFailedError`, `MIGRATION_FAILED`. The messages of this and the next four have fields, see [`super::FIELD`].
    MigrationFailed = 30,
    /// `MigrationDivergentError`, `MIGRATION_DIVERGENT`: an applied migration differs from the code's.
    MigrationDivergent = 31,
    /// `MigrationMissingError`, `MIGRATION_MISSING`: one is applied and not in the code, or the other way round below the last.
    MigrationMissing = 32,
    /// `DatabaseNewerThanCodeError`, `DATABASE_NEWER_THAN_CODE`.
    DatabaseNewer = 33,
    /// `MigrationSourceError`, `MIGRATION_SOURCE`: a migration file is wrong.
    MigrationSource = 34,
    /// `WrongKeyError`, `WRONG_KEY`: the key does not fit, or the file is damaged.
    WrongKey = 35,
    /// `NotEncryptedError`, `NOT_ENCRYPTED`: a key for a file that has none.
    NotEncrypted = 36,
    /// `ForeignCipherFormatError`, `FOREIGN_CIPHER_FORMAT`: encrypted by another program, in a format of its own.
    ForeignCipherFormat = 37,
    /// `FileExistsError`, `FILE_EXISTS`: what would be overwritten.
    FileExists = 38,
    /// `NoSuchDatabaseError`, `NO_SUCH_DATABASE`: a pool has none for the key, and shall not make one.
    NoSuchDatabase = 39,
}

impl ErrorCode {
    /// Every code, in the order of the numbers, which begin at 1.
    pub const ALL: [Self; 39] = [
        Self::Sql,
        Self::Constraint,
        Self::Busy,
        Self::ReadOnlyTransaction,
        Self::TransactionClosed,
        Self::TransactionAborted,
        Self::UnfinishedQuery,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::CommitOutcomeUnknown,
        Self::DatabaseClosed,
        Self::OptionsConflict,
        Self::EnginePanic,
        Self::CorruptDatabase,
        Self::NotADatabase,
        Self::Parameter,
        Self::Statement,
        Self::StatementNotAllowed,
        Self::CannotOpen,
        Self::Io,
        Self::TransactionTimeout,
        Self::Abort,
        Self::StatementInFlight,
        Self::Protocol,
        Self::ReadOnlyDatabase,
        Self::TooLarge,
        Self::ProcessExiting,
        Self::Option,
        Self::Interrupted,
        Self::MigrationFailed,
        Self::MigrationDivergent,
        Self::MigrationMissing,
        Self::DatabaseNewer,
        Self::MigrationSource,
        Self::WrongKey,
        Self::NotEncrypted,
        Self::ForeignCipherFormat,
        Self::FileExists,
        Self::NoSuchDatabase,
    ];
}

impl ErrorCode {
    /// Whether it is about what the caller has brought, the key and the migrations, and not about the file alone.
    #[must_use]
    pub const fn is_of_the_caller(self) -> bool {
        self.is_of_migrations()
            || matches!(self, Self::WrongKey | Self::NotEncrypted | Self::ForeignCipherFormat | Self::NotADatabase)
    }

    /// Whether it is about migrations, and its message has fields.
    #[must_use]
    pub const fn is_of_migrations(self) -> bool {
        matches!(
            self,
            Self::MigrationFailed
                | Self::MigrationDivergent
                | Self::MigrationMissing
                | Self::DatabaseNewer
                | Self::MigrationSource
        )
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        code as Self
    }
}

impl TryFrom<u16> for ErrorCode {
    type Error = WireError;

    fn try_from(code: u16) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|known| *known as u16 == code).ok_or(WireError::Code(code))
    }
}
