//! The recent past of one number. Equal neighbours are kept as one: most numbers of a host hardly ever change, and there are
//! thousands of them.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::baseline::Point;

/// A point, and how often it came in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    point: Point,
    times: u16,
}

/// Points in their order.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: VecDeque<Run>,
    points: usize,
}

impl Runs {
    pub fn len(&self) -> usize {
        self.points
    }

    /// Adds a point; of more than `most` the oldest goes.
    pub fn push(&mut self, point: Point, most: usize) {
        self.add(point, 1);
        while self.points > most {
            let Some(oldest) = self.runs.front_mut() else { break };
            oldest.times -= 1;
            self.points -= 1;
            if oldest.times == 0 {
                self.runs.pop_front();
            }
        }
    }

    fn add(&mut self, point: Point, times: u16) {
        self.points += usize::from(times);
        match self.runs.back_mut() {
            Some(last) if last.point == point && last.times <= u16::MAX - times => last.times += times,
            _ => self.runs.push_back(Run { point, times }),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Point> + '_ {
        self.runs.iter().flat_map(|run| std::iter::repeat_n(run.point, usize::from(run.times)))
    }
}

/// As a flat list: held, load, times, and so on.
impl Serialize for Runs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.runs.iter().flat_map(|run| [run.point.held, run.point.load, f32::from(run.times)]))
    }
}

impl<'de> Deserialize<'de> for Runs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut runs = Self::default();
        for run in Vec::<f32>::deserialize(from)?.chunks_exact(3) {
            let times = run[2] as u16;
            if times > 0 {
                runs.add(Point { held: run[0], load: run[1] }, times);
            }
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(held: f32) -> Point {
        Point { held, load: 0.0 }
    }

    #[test]
    fn what_stays_the_same_takes_one_place_and_the_oldest_goes() {
        let mut runs = Runs::default();
        (0..500).for_each(|_| runs.push(point(1.0), 240));
        assert_eq!((runs.len(), runs.runs.len()), (240, 1));
        (0..239).for_each(|index| runs.push(point(2.0 + (index % 3) as f32), 240));
        assert_eq!((runs.len(), runs.iter().count()), (240, 240));
        assert_eq!(runs.iter().filter(|point| point.held == 1.0).count(), 1);
        runs.push(point(9.0), 240);
        assert!(runs.iter().all(|point| point.held != 1.0));
    }

    #[test]
    fn it_is_the_same_after_a_restart() {
        let mut runs = Runs::default();
        [0.1f32, 0.1, 7.25, 7.25, 7.25, 0.1].into_iter().for_each(|held| runs.push(point(held), 240));
        let text = serde_json::to_string(&runs).unwrap();
        assert_eq!(text, "[0.1,0.0,2.0,7.25,0.0,3.0,0.1,0.0,1.0]");
        let again: Runs = serde_json::from_str(&text).unwrap();
        assert!(again.iter().eq(runs.iter()) && again.len() == 6);
    }
}
