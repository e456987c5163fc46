//! Commands on images.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::{
    image::{CreateImage, DiskFormat, Image, ImageSource, UpdateImage, Visibility},
    meta::Meta,
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, WaitArgs},
    client::{Client, FilePart, Payload, Reply},
    failure::Failure,
    history::{self, EventsArgs},
    image_file,
    output::{self, Cell, Sheet, View},
    progress,
    resource::{self, Shown},
    vm_sheet,
    wait::Verdict,
};

/// Commands on images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Makes an image from a local file, or from a file on the site's machine.
    #[command(
        after_help = "Example:\n  edgectl create-image debian-12 --file debian-12.qcow2 --min-memory-mib 256\n  \
                      edgectl create-image debian-12 --path /var/lib/images/debian-12.qcow2"
    )]
    CreateImage(CreateImageArgs),
    /// Lists the images.
    #[command(after_help = "Example:\n  edgectl list-images --state active")]
    ListImages(ListArgs),
    /// Shows an image.
    #[command(after_help = "Example:\n  edgectl show-image debian-12")]
    ShowImage(ShowArgs),
    /// Changes an image's description, labels, visibility or demands.
    #[command(after_help = "Example:\n  edgectl update-image debian-12 --visibility public")]
    UpdateImage(UpdateImageArgs),
    /// Sends the content of an image that waits for it.
    #[command(after_help = "Example:\n  edgectl upload-image debian-12 --file debian-12.qcow2")]
    UploadImage(UploadArgs),
    /// Removes images.
    #[command(after_help = "Example:\n  edgectl remove-image debian-11 debian-12")]
    RemoveImage(RemoveArgs),
    /// Shows an image's history.
    #[command(after_help = "Example:\n  edgectl show-image-events debian-12")]
    ShowImageEvents(EventsArgs),
}

/// `create-image`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("content").required(true).args(["file", "path"])))]
pub struct CreateImageArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// A file on this machine, to be sent.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// A file on the site's machine: an absolute path there.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The content's format; if absent, a local file is looked into, and --path means qcow2.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// Smallest root disk, GiB.
    #[arg(long, value_name = "GIB", default_value_t = 0)]
    min_disk_gib: u64,
    /// Smallest memory, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    min_memory_mib: u64,
    /// CPU architecture of the system in it: x86_64 or aarch64.
    #[arg(long, default_value = "x86_64")]
    architecture: String,
    /// Who sees it.
    #[arg(long, value_enum, default_value = "private")]
    visibility: VisibilityArg,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A disk format on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// QEMU copy on write.
    Qcow2,
    /// Bytes as they are.
    Raw,
}

impl From<FormatArg> for DiskFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Qcow2 => Self::Qcow2,
            FormatArg::Raw => Self::Raw,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VisibilityArg {
    /// Its owner.
    Private,
    /// Every user of the site.
    Public,
}

impl From<VisibilityArg> for Visibility {
    fn from(visibility: VisibilityArg) -> Self {
        match visibility {
            VisibilityArg::Private => Self::Private,
            VisibilityArg::Public => Self::Public,
        }
    }
}

/// `update-image`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(
    ["description", "label", "clear_labels", "visibility", "min_disk_gib", "min_memory_mib"]
)))]
pub struct UpdateImageArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    /// Who sees it.
    #[arg(long, value_enum)]
    visibility: Option<VisibilityArg>,
    /// Smallest root disk, GiB; 0 for no demand.
    #[arg(long, value_name = "GIB")]
    min_disk_gib: Option<u64>,
    /// Smallest memory, MiB; 0 for no demand.
    #[arg(long, value_name = "MIB")]
    min_memory_mib: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// `upload-image`
#[derive(Args, Debug)]
pub struct UploadArgs {
    #[command(flatten)]
    of: NameArgs,
    /// A file on this machine.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs a command on images.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: ImageCommand, client: &Client) -> Result<(), Failure> {
    match command {
        ImageCommand::CreateImage(args) => create(client, args).await,
        ImageCommand::ListImages(args) => resource::list::<Image>(client, &args).await,
        ImageCommand::ShowImage(args) => resource::show::<Image>(client, &args).await,
        ImageCommand::UpdateImage(args) => update(client, &args).await,
        ImageCommand::UploadImage(args) => upload_image(client, &args).await,
        ImageCommand::RemoveImage(args) => resource::remove::<Image>(client, &args).await,
        ImageCommand::ShowImageEvents(args) => history::events(client, Kind::Image, &args).await,
    }
}

async fn create(client: &Client, args: CreateImageArgs) -> Result<(), Failure> {
    // The file is looked into first: an image that waits for ever for it helps nobody.
    let (source, found) = match (&args.file, args.path) {
        (Some(file), _) => (ImageSource::Upload {}, Some(image_file::inspect(file, args.format)?)),
        (None, Some(path)) => (ImageSource::Path { path }, None),
        (None, None) => return Err(Failure::Usage("give --file or --path".to_owned())),
    };
    let format = match &found {
        Some(found) => found.format,
        None => args.format.unwrap_or(FormatArg::Qcow2).into(),
    };
    let body = Payload::json(&CreateImage {
        name: args.new_name.clone(),
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        format,
        source,
        architecture: args.architecture,
        min_disk_gib: args.min_disk_gib,
        min_memory_mib: args.min_memory_mib,
        visibility: args.visibility.into(),
    })?;
    let mut reply = client.change(Method::POST, &[Kind::Image.plural()], &body, &args.change).await?;
    if let (Some(file), Some(found), false) = (&args.file, &found, args.change.dry_run) {
        let name = &args.new_name;
        reply = send(client, name, file, found.length, &args.change)
            .await
            .inspect_err(|_| {
                output::note(&format!(
                    "edgectl: image \"{name}\" is made and waits for its content; send it again: edgectl upload-image {name} --file {}",
                    file.display()
                ));
            })?;
    }
    let patience = args.wait.patience();
    resource::finish::<Image>(client, &reply, &args.change, patience, "created", verdict).await
}

async fn upload_image(client: &Client, args: &UploadArgs) -> Result<(), Failure> {
    let name = &args.of.name;
    if args.change.dry_run {
        return dry_upload(client, args).await;
    }
    let length = image_file::length(&args.file)?;
    let reply = send(client, name, &args.file, length, &args.change).await?;
    let patience = args.wait.patience();
    resource::finish::<Image>(client, &reply, &args.change, patience, "uploaded", verdict).await
}

/// The server cannot check bytes that it has not seen, so the image and the file
/// are checked here, and nothing is sent.
async fn dry_upload(client: &Client, args: &UploadArgs) -> Result<(), Failure> {
    let name = &args.of.name;
    let raw = client.get(client.url(&[Kind::Image.plural(), name], &[])).await?;
    let image: Image = serde_json::from_str(&raw)?;
    if image.state != "queued" {
        return Err(Failure::Failed(format!(
            "image \"{name}\" is {}, only a queued one takes an upload; make another: edgectl create-image",
            image.state
        )));
    }
    let format = match image.format {
        DiskFormat::Qcow2 => FormatArg::Qcow2,
        DiskFormat::Raw => FormatArg::Raw,
    };
    image_file::inspect(&args.file, None).and_then(|found| {
        if found.format == DiskFormat::from(format) {
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "image \"{name}\" shall be {}, the file is {}",
            format_word(image.format),
            format_word(found.format)
        )))
    })?;
    resource::print_changed::<Image>(&raw, &args.change, "uploaded")
}

async fn send(
    client: &Client,
    name: &str,
    file: &std::path::Path,
    length: u64,
    change: &ChangeArgs,
) -> Result<Reply, Failure> {
    let (bar, progress) = progress::upload(&file.display().to_string(), length);
    let part = Payload::File(FilePart { path: file.to_owned(), length, progress });
    let segments = [Kind::Image.plural(), name, "file"];
    let reply = client.change(Method::PUT, &segments, &part, change).await;
    bar.finish_and_clear();
    Ok(reply?)
}

async fn update(client: &Client, args: &UpdateImageArgs) -> Result<(), Failure> {
    let body = Payload::json(&UpdateImage {
        description: args.meta.description(),
        labels: args.meta.labels(),
        visibility: args.visibility.map(|visibility| Some(visibility.into())),
        min_disk_gib: args.min_disk_gib.map(Some),
        min_memory_mib: args.min_memory_mib.map(Some),
    })?;
    let segments = [Kind::Image.plural(), args.of.name.as_str()];
    resource::change::<Image>(client, Method::PATCH, &segments, &body, &args.change, "updated").await
}

/// Whether an image can be used.
fn verdict(image: &Image) -> Verdict {
    match image.state.as_str() {
        "active" => Verdict::Reached,
        "failed" => {
            let name = &image.meta.name;
            let why = image.waiting.as_ref().map_or_else(
                || format!("see edgectl show-image-events {name}"),
                |waiting| match &waiting.fix {
                    Some(fix) => format!("{}; {fix}", waiting.reason),
                    None => waiting.reason.clone(),
                },
            );
            Verdict::Never(format!("image \"{name}\" is failed: {why}"))
        }
        state => Verdict::NotYet { state: state.to_owned(), waiting: image.waiting.clone() },
    }
}

fn format_word(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

fn visibility_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

impl Shown for Image {
    const KIND: Kind = Kind::Image;
    const WHEN_EMPTY: &'static str = "no images yet; make one: edgectl create-image debian-12 --file debian-12.qcow2";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "FORMAT", "SIZE", "DISK"];
        if wide {
            headers.extend(["ARCHITECTURE", "MIN DISK", "MIN MEMORY", "VISIBILITY", "CHECKSUM", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let size = |bytes: Option<u64>| bytes.map(output::bytes).unwrap_or_default();
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            format_word(self.format).into(),
            size(self.size_bytes).into(),
            size(self.virtual_size_bytes).into(),
        ];
        if view.wide {
            row.extend([
                self.architecture.as_str().into(),
                format!("{} GiB", self.min_disk_gib).into(),
                output::mebibytes(self.min_memory_mib).into(),
                visibility_word(self.visibility).into(),
                self.checksum.clone().unwrap_or_default().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        if let Some(waiting) = &self.waiting {
            vm_sheet::waiting_section(&mut sheet, waiting, view);
        }
        sheet.section("Content");
        sheet.pair("format", format_word(self.format));
        let source = match &self.source {
            ImageSource::Path { path } => format!("{path} on the site's machine"),
            ImageSource::Upload {} => "uploaded".to_owned(),
        };
        sheet.pair("source", source);
        sheet.pair_if("file", self.size_bytes.map(output::bytes));
        sheet.pair_if("disk", self.virtual_size_bytes.map(output::bytes));
        sheet.pair_if("checksum", self.checksum.as_deref());
        sheet.section("For VMs");
        sheet.pair("architecture", self.architecture.as_str());
        if self.min_disk_gib > 0 {
            sheet.pair("smallest disk", format!("{} GiB", self.min_disk_gib));
        }
        if self.min_memory_mib > 0 {
            sheet.pair("smallest memory", output::mebibytes(self.min_memory_mib));
        }
        sheet.pair("visibility", visibility_word(self.visibility));
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}
