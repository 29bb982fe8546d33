//! The closed set of stable error codes. `proto` maps them to gRPC status, the API to HTTP; both
//! in one table each. Code never branches on error text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::{UnknownWord, words};

words!(
    /// A reason that an operator or a program can act on; docs/protocol.md says what to do.
    Code {
        /// The request is malformed or breaks a limit of its schema.
        Invalid = "INVALID",
        /// A size, count or rate limit was exceeded.
        Limit = "LIMIT",
        /// A field or payload type that this version does not honour.
        Unsupported = "UNSUPPORTED",
        Unauthenticated = "UNAUTHENTICATED",
        Forbidden = "FORBIDDEN",
        NotFound = "NOT_FOUND",
        Conflict = "CONFLICT",
        /// Busy or shedding load; try again after the given time.
        Unavailable = "UNAVAILABLE",
        Internal = "INTERNAL",

        // Enrolment and identity.
        TokenUnknown = "TOKEN_UNKNOWN",
        TokenUsed = "TOKEN_USED",
        TokenExpired = "TOKEN_EXPIRED",
        WrongCa = "WRONG_CA",
        WrongRoot = "WRONG_ROOT",
        WrongTrustDomain = "WRONG_TRUST_DOMAIN",
        NeedsApproval = "NEEDS_APPROVAL",
        Rejected = "REJECTED",
        Revoked = "REVOKED",
        CertificateExpired = "CERTIFICATE_EXPIRED",
        CloneSuspected = "CLONE_SUSPECTED",
        WrongCluster = "WRONG_CLUSTER",

        // Report chain.
        BadSignature = "BAD_SIGNATURE",
        HeadMismatch = "HEAD_MISMATCH",
        UndeclaredGap = "UNDECLARED_GAP",
        Fork = "FORK",
        Quarantined = "QUARANTINED",

        // Signed objects and bundles, in the order they are checked.
        TooLarge = "TOO_LARGE",
        Unsigned = "UNSIGNED",
        ThresholdNotMet = "THRESHOLD_NOT_MET",
        WrongType = "WRONG_TYPE",
        Malformed = "MALFORMED",
        RootChainBroken = "ROOT_CHAIN_BROKEN",
        Expired = "EXPIRED",
        Older = "OLDER",
        BelowFloor = "BELOW_FLOOR",
        RevokedVersion = "REVOKED_VERSION",
        SameVersionDiffers = "SAME_VERSION_DIFFERS",
        OutOfScope = "OUT_OF_SCOPE",
        NotYet = "NOT_YET",
        WrongAssignment = "WRONG_ASSIGNMENT",
        EngineTooOld = "ENGINE_TOO_OLD",
        DigestMismatch = "DIGEST_MISMATCH",
        FileMissing = "FILE_MISSING",
        FileUnexpected = "FILE_UNEXPECTED",
        UnsafePath = "UNSAFE_PATH",

        // Policies.
        CompileFailed = "COMPILE_FAILED",
        BuiltinForbidden = "BUILTIN_FORBIDDEN",
        SelfTestFailed = "SELF_TEST_FAILED",
        MetadataInvalid = "METADATA_INVALID",
        ParameterInvalid = "PARAMETER_INVALID",
        EvalTimeout = "EVAL_TIMEOUT",
        EvalFailed = "EVAL_FAILED",
        EvalPanicked = "EVAL_PANICKED",
        EvalShape = "EVAL_SHAPE",
    }
);
