//! Which cameras a new configuration stops and which it starts. All others go on and lose no picture.

use fragment::StreamName;

use crate::config::Camera;

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Cameras that are not wanted any more, or not as they are.
    pub stop: Vec<StreamName>,
    /// Cameras that are new, or wanted otherwise.
    pub start: Vec<Camera>,
}

/// What leads from `running` to `wanted`.
pub fn plan<'a>(running: &(impl Iterator<Item = &'a Camera> + Clone), wanted: &[Camera]) -> Plan {
    let stop = running.clone().filter(|camera| !wanted.contains(camera)).map(|camera| camera.stream.clone());
    let start = wanted.iter().filter(|camera| !running.clone().any(|runs| runs == *camera));
    Plan { stop: stop.collect(), start: start.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn cameras_that_did_not_change_are_left_alone() {
        let (before, after) =
            (cameras(&[("a", "1"), ("b", "1"), ("c", "1")]), cameras(&[("d", "1"), ("a", "1"), ("b", "2")]));
        let plan = plan(&before.iter(), &after);
        assert_eq!(plan.stop.iter().map(StreamName::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(plan.start.iter().map(|camera| camera.stream.as_str()).collect::<Vec<_>>(), ["d", "b"]);
    }

    #[test]
    fn the_same_configuration_in_another_order_changes_nothing() {
        let (before, after) = (cameras(&[("a", "1"), ("b", "1")]), cameras(&[("b", "1"), ("a", "1")]));
        assert_eq!(plan(&before.iter(), &after), Plan::default());
    }

    fn cameras(cameras: &[(&str, &str)]) -> Vec<Camera> {
        let mut text = "server.address = \"s:1\"\n".to_owned();
        for (stream, path) in cameras {
            text += &format!("[[camera]]\nstream = \"{stream}\"\nurl = \"rtsp://camera/{path}\"\n");
        }
        Config::parse(&text, Path::new("/")).unwrap().cameras
    }
}
