//! What there is to do. A job's luck decides what it is and what will happen to it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringloop::fs::{self, File};
use ringloop::net::TcpStream;
use ringloop::{GroupError, JoinError, as_completed, create_task, task_group, to_thread};
use sha2::{Digest, Sha256};

use crate::crew::{Failure, Job, Kind};
use crate::log::say;
use crate::luck::Luck;
use crate::rate::Rate;
use crate::service::PARTS;

/// How many files an archive is made of.
const INPUTS: u32 = 4;
/// How often a digest is digested.
const ROUNDS: u32 = 500;

impl Job {
    /// The job of this number.
    pub fn dealt(number: u32, luck: Luck) -> Job {
        let luck = luck.with(number).with(0);
        let kind = [Kind::Fetch, Kind::Archive, Kind::Digest][luck.below(3) as usize];
        Job { priority: luck.with(1).below(3) as u8, number, kind }
    }
}

/// Whether a file is missing, or the input of a computation bad.
fn is_unlucky(job: Job, luck: Luck) -> bool {
    luck.with(job.number).below(12) == 0
}

/// Makes the files that the archives are made of.
pub async fn plant(directory: &Path, jobs: &[Job], luck: Luck) -> io::Result<()> {
    for &job in jobs.iter().filter(|job| job.kind == Kind::Archive) {
        // The last is missing where luck is.
        for input in u32::from(is_unlucky(job, luck))..INPUTS {
            fs::write(directory.join(input_name(job, input)), format!("input {input} of {job}\n")).await?;
        }
    }
    Ok(())
}

fn input_name(job: Job, input: u32) -> String {
    format!("input-{:03}-{input}", job.number)
}

/// Where the jobs are done.
pub struct Workshop {
    /// Files come from here and go here.
    pub directory: PathBuf,
    /// The server's address.
    pub server: SocketAddr,
    /// How often it may be asked.
    pub rate: Rate,
    pub luck: Luck,
}

impl Workshop {
    pub async fn perform(self: Rc<Self>, job: Job, attempt: u32) -> Result<(), Failure> {
        match job.kind {
            Kind::Fetch => self.fetch(job, attempt).await,
            Kind::Archive => self.archive(job).await,
            Kind::Digest => self.digest(job).await,
        }
    }

    /// Fetches the parts of something at the same time; the first that fails ends the others.
    async fn fetch(self: Rc<Self>, job: Job, attempt: u32) -> Result<(), Failure> {
        let text = task_group(async |group| {
            let parts: Vec<_> = (0..PARTS)
                .map(|part| group.create_task(self.clone().fetch_part(job, attempt, part)))
                .collect();
            let mut text = String::new();
            for part in parts {
                // A part that failed ends the group, whatever is returned here.
                text += &part.await.unwrap_or_default();
            }
            Ok(text)
        });
        let text = text.await.map_err(GroupError::flatten)?;
        self.keep(job, text).await
    }

    async fn fetch_part(self: Rc<Self>, job: Job, attempt: u32, part: u32) -> Result<String, Failure> {
        self.rate.take().await;
        let stream = TcpStream::connect(self.server).await?;
        stream.write_all(format!("GET {} {attempt} {part}\n", job.number).as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(' ') {
            Some(("OK", text)) => Ok(format!("{text}\n")),
            Some(("BUSY", why)) => Err(Failure::Again(format!("the server is busy: {why}"))),
            Some(("GONE", why)) => Err(Failure::Final(format!("the server has refused it: {why}"))),
            _ => Err(Failure::Again("the server hung up".to_owned())),
        }
    }

    /// Puts several files into one, in whatever order they come.
    async fn archive(&self, job: Job) -> Result<(), Failure> {
        let read = |input| {
            let path = self.directory.join(input_name(job, input));
            create_task(async move {
                fs::read_to_string(&path).await.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Failure::Final(format!("input {input} is missing")),
                    _ => error.into(),
                })
            })
        };
        let mut inputs = as_completed((0..INPUTS).map(read));
        let mut text = String::new();
        while let Some(input) = inputs.next().await {
            text += &input??;
        }
        self.keep(job, text).await
    }

    /// Computes for a while, on a thread.
    async fn digest(&self, job: Job) -> Result<(), Failure> {
        let unlucky = is_unlucky(job, self.luck);
        let digest = to_thread(move || {
            say(format_args!("computes on a thread"));
            assert!(!unlucky, "{job} has a bad input");
            (0..ROUNDS).fold(Sha256::digest(job.to_string()), |digest, _| Sha256::digest(digest))
        });
        let text: String = digest.await?.iter().map(|byte| format!("{byte:02x}")).collect();
        self.keep(job, text).await
    }

    /// Writes the result; what bears its final name is whole.
    async fn keep(&self, job: Job, text: String) -> Result<(), Failure> {
        let path = self.directory.join(format!("result-{:03}", job.number));
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished).await?;
        file.write_all(text.as_bytes()).await?;
        file.close().await?;
        Ok(fs::rename(&unfinished, &path).await?)
    }
}

/// What the machine refuses now it may grant later.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Again(error.to_string())
    }
}

/// A panic is a bug, and will happen again.
impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Failure {
        Failure::Final(error.to_string())
    }
}
