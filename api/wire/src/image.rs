//! Images as they travel.

use std::collections::BTreeMap;

use edgestack_model::{
    command::Reference,
    image::{self, ImageCommand, ImageSpec},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Invalid, invalid,
    meta::{self, Meta, Waiting},
};

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `queued`, `importing`, `active`, `failed`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not active.
    pub waiting: Option<Waiting>,
    /// The content's format.
    pub format: DiskFormat,
    /// Where the content came from.
    pub source: ImageSource,
    /// Length of the stored file, once imported.
    pub size_bytes: Option<u64>,
    /// Length of the disk that a guest sees, once imported.
    pub virtual_size_bytes: Option<u64>,
    /// `sha256:` and 64 hex digits, of the content as it came.
    pub checksum: Option<String>,
    /// CPU architecture of the system in it.
    pub architecture: String,
    /// Smallest root disk, GiB.
    pub min_disk_gib: u64,
    /// Smallest memory, MiB.
    pub min_memory_mib: u64,
    /// Who sees it.
    pub visibility: Visibility,
}

/// A disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU copy on write.
    Qcow2,
    /// Bytes as they are.
    Raw,
}

/// Where an image's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSource {
    /// A file on the machine of the storage pool.
    Path {
        /// Absolute, without `..`; at most 4,096 bytes.
        #[schema(max_length = 4096, pattern = r"^(/([^/.\x00][^/\x00]*|\.[^/.\x00][^/\x00]*|\.\.[^/\x00]+|\.)?)+$")]
        path: String,
    },
    /// Bytes sent to `PUT images/{name}/file`.
    Upload {},
}

/// Who sees an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its owner.
    #[default]
    Private,
    /// Every user of the site.
    Public,
}

/// An image to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "debian-12", "format": "qcow2", "source": {"type": "upload"}}))]
pub struct CreateImage {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The content's format.
    pub format: DiskFormat,
    /// Where the content comes from.
    #[serde(deserialize_with = "meta::object")]
    pub source: ImageSource,
    /// `x86_64` or `aarch64`.
    #[serde(default = "x86_64")]
    #[schema(pattern = "^(x86_64|aarch64)$")]
    pub architecture: String,
    /// Smallest root disk, GiB.
    #[serde(default)]
    #[schema(maximum = 65536)]
    pub min_disk_gib: u64,
    /// Smallest memory, MiB.
    #[serde(default)]
    #[schema(maximum = 16777216)]
    pub min_memory_mib: u64,
    /// Who sees it.
    #[serde(default)]
    pub visibility: Visibility,
}

/// A change of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"visibility": "public", "min_memory_mib": 256}))]
pub struct UpdateImage {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// Who sees it; `null` makes it private.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Visibility>)]
    pub visibility: Option<Option<Visibility>>,
    /// Smallest root disk, GiB; `null` is 0.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 65536)]
    pub min_disk_gib: Option<Option<u64>>,
    /// Smallest memory, MiB; `null` is 0.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 16777216)]
    pub min_memory_mib: Option<Option<u64>>,
}

fn x86_64() -> String {
    "x86_64".to_owned()
}

impl TryFrom<CreateImage> for ImageCommand {
    type Error = Invalid;
    fn try_from(create: CreateImage) -> Result<Self, Invalid> {
        Ok(Self::Create {
            name: invalid::name(&create.name)?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            spec: ImageSpec {
                format: match create.format {
                    DiskFormat::Qcow2 => image::DiskFormat::Qcow2,
                    DiskFormat::Raw => image::DiskFormat::Raw,
                },
                source: match create.source {
                    ImageSource::Path { path } => image::ImageSource::Path { path },
                    ImageSource::Upload {} => image::ImageSource::Upload,
                },
                architecture: create.architecture,
                min_disk_gib: create.min_disk_gib,
                min_memory_mib: create.min_memory_mib,
                visibility: create.visibility.into(),
            },
        })
    }
}

impl UpdateImage {
    /// The command that this update of an image is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, image: Reference) -> Result<ImageCommand, Invalid> {
        Ok(ImageCommand::Update {
            image,
            change: meta::change(self.description, self.labels)?,
            visibility: self.visibility.map(|visibility| visibility.unwrap_or_default().into()),
            min_disk_gib: self.min_disk_gib.map(Option::unwrap_or_default),
            min_memory_mib: self.min_memory_mib.map(Option::unwrap_or_default),
        })
    }
}

impl From<Visibility> for image::Visibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Private => Self::Private,
            Visibility::Public => Self::Public,
        }
    }
}

/// Something to do with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum ImageAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it on disk, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl ImageAction {
    /// The command that this action on an image is.
    pub fn into_command(self, image: Reference) -> ImageCommand {
        match self {
            Self::Reconcile {} => ImageCommand::Reconcile { image },
            Self::ForceRemove {} => ImageCommand::ForceRemove { image },
        }
    }
}

impl From<&image::Image> for Image {
    fn from(image: &image::Image) -> Self {
        let content = image.content.as_ref();
        let attempts = image.failure.as_ref().map_or(0, |failure| failure.attempt);
        Self {
            meta: Meta::of(image.id.uuid(), &image.meta),
            state: image.state.as_str().to_owned(),
            waiting: image.waiting().map(|waiting| Waiting::of(waiting, attempts)),
            format: match image.spec.format {
                image::DiskFormat::Qcow2 => DiskFormat::Qcow2,
                image::DiskFormat::Raw => DiskFormat::Raw,
            },
            source: match &image.spec.source {
                image::ImageSource::Path { path } => ImageSource::Path { path: path.clone() },
                image::ImageSource::Upload => ImageSource::Upload {},
            },
            size_bytes: content.map(|content| content.size_bytes),
            virtual_size_bytes: content.map(|content| content.virtual_size_bytes),
            checksum: content.map(|content| format!("sha256:{}", content.sha256)),
            architecture: image.spec.architecture.clone(),
            min_disk_gib: image.spec.min_disk_gib,
            min_memory_mib: image.spec.min_memory_mib,
            visibility: match image.spec.visibility {
                image::Visibility::Private => Visibility::Private,
                image::Visibility::Public => Visibility::Public,
            },
        }
    }
}
