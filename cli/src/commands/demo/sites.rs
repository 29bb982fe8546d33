//! The six sites of the demo and the manifests that each of them runs.

use std::io;
use std::path::Path;

/// A cluster that is a directory of manifests.
pub struct Site {
    pub name: &'static str,
    /// `cloud`, `on-prem` or `edge`: the label that the hub grants.
    pub tier: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// The site whose link is cut.
pub const DARK: &str = "store-14";

macro_rules! files {
    ($site:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("sites/", $site, "/", $file)))),+]
    };
}

pub const SITES: &[Site] = &[
    Site {
        name: "cloud-eu",
        tier: "cloud",
        files: files!("cloud-eu": "cart.yaml", "payments.yaml"),
    },
    Site {
        name: "cloud-us",
        tier: "cloud",
        files: files!("cloud-us": "catalog.yaml", "legacy.yaml"),
    },
    Site {
        name: "plant-berlin",
        tier: "on-prem",
        files: files!("plant-berlin": "scada.yaml", "rbac.yaml"),
    },
    Site {
        name: "plant-turin",
        tier: "on-prem",
        files: files!("plant-turin": "historian.yaml", "collector.yaml"),
    },
    Site { name: DARK, tier: "edge", files: files!("store-14": "camera.yaml", "till.yaml") },
    Site { name: "store-27", tier: "edge", files: files!("store-27": "camera.yaml", "till.yaml") },
];

/// What changes at [`DARK`] while nobody hears of it: the camera is mended, a debug shell comes in.
const CHANGES: &[(&str, &str)] = files!("store-14-dark": "camera.yaml", "debug.yaml");

impl Site {
    pub fn lay_out(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        write_all(folder, self.files)
    }
}

pub fn change_in_the_dark(folder: &Path) -> io::Result<()> {
    write_all(folder, CHANGES)
}

fn write_all(folder: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
}
