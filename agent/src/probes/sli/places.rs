//! Commands asked for often have a place each: there the kernel side counts them without a lookup among all (`often_asked` in
//! `conn.h`). What was counted before a command had its place stays where it was, so both add up.

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::layout::{Key, PLACES, Place, Requests};
use super::sums_of;
use crate::kernel::load::Loaded;
use crate::kernel::plain;

/// Requests between two reports from which on a command is asked for often.
pub const OFTEN: u64 = 5_000;

pub struct Places {
    /// The only value of this map are all places.
    keys: MapHandle,
    sums: MapHandle,
    given: [Place; PLACES],
}

impl Places {
    pub fn of(loaded: &Loaded) -> Result<Self> {
        Ok(Self { keys: loaded.map(".bss.places")?, sums: loaded.map("often")?, given: [Place::FREE; PLACES] })
    }

    /// What was counted at the command's place, if it has one.
    pub fn sums_of(&self, key: &Key) -> Result<Option<Requests>> {
        let Some(place) = self.place_of(key) else { return Ok(None) };
        sums_of(&self.sums, plain::bytes(&(place as u32)))
    }

    /// Gives a command a place while there are any. It keeps it until its process ends or it makes room for others.
    pub fn give(&mut self, key: Key) -> Result<()> {
        let Some(place) = self.given.iter().position(Place::is_free).filter(|_| self.place_of(&key).is_none()) else {
            return Ok(());
        };
        let nothing = vec![plain::bytes(&Requests::default()).to_vec(); libbpf_rs::num_possible_cpus()?];
        self.sums.update_percpu(plain::bytes(&(place as u32)), &nothing, MapFlags::ANY).context("emptying a place failed")?;
        // The kernel side must not meet half a key that is valid.
        self.given[place] = Place { key, taken: 0 };
        self.tell()?;
        self.given[place].taken = 1;
        self.tell()
    }

    /// After this nothing more is counted there, but by a program that just looked.
    pub fn take_back(&mut self, key: &Key) -> Result<()> {
        let Some(place) = self.place_of(key) else { return Ok(()) };
        self.given[place] = Place::FREE;
        self.tell()
    }

    fn place_of(&self, key: &Key) -> Option<usize> {
        self.given.iter().position(|place| !place.is_free() && place.key == *key)
    }

    fn tell(&self) -> Result<()> {
        let told = self.keys.update(plain::bytes(&0u32), plain::bytes(&self.given), MapFlags::ANY);
        told.context("telling the places of commands failed")
    }
}
