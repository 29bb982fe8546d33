//! What to do about a bundle that is refused, by the code of the refusal.

use provost_model::Code;

/// None where the refusal says all there is to say.
pub const fn on(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Unsigned => "sign it with 'provost bundle sign BUNDLE --key FILE'",
        Code::ThresholdNotMet => {
            "have holders of policy keys sign it; 'provost root show' says how many and who"
        }
        Code::DigestMismatch | Code::FileMissing | Code::FileUnexpected | Code::Malformed => {
            "it was changed after it was built: get it anew, or build and sign it again"
        }
        Code::Older | Code::BelowFloor | Code::RevokedVersion | Code::SameVersionDiffers => {
            "build and sign it again with a higher --version"
        }
        Code::Expired => "build and sign it again; a root is renewed by 'provost root renew'",
        Code::OutOfScope => "it is for clusters with other labels: see 'provost bundle inspect'",
        _ => return None,
    })
}
