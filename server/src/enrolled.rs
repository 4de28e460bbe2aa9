//! A device that has joined, for tests.

use archive::Archive;
use bytes::Bytes;
use fragment::WallTime;
use rcgen::{CertificateParams, KeyPair};

use crate::ca::{self, Ca, CheckedRequest};
use crate::devices::{DeviceName, Devices, EnrolError};
use crate::limits;

/// A device with its certificate, and the CA that it is from.
pub(crate) struct Enrolled {
    pub(crate) ca: Ca,
    pub(crate) devices: Devices,
    pub(crate) name: DeviceName,
    pub(crate) key: KeyPair,
    pub(crate) certificate: Bytes,
}

impl Enrolled {
    /// `cam`, limited to these streams.
    pub(crate) fn new(archive: &Archive, streams: &[&str], now: WallTime) -> Self {
        let ca = Ca::from_pem(&ca::new_ca(), "a test").unwrap();
        let devices = Devices::new(archive.vault().catalog().clone());
        let streams: Vec<String> = streams.iter().map(|&name| name.to_owned()).collect();
        let (name, key): (DeviceName, _) = ("cam".parse().unwrap(), KeyPair::generate().unwrap());
        let secret = [7; 32];
        devices.add(&name, &streams, &secret, now, limits::TOKEN_VALIDITY).unwrap();
        let issue = |_: &DeviceName| Ok::<_, EnrolError>(issue(&ca, &name, &key, now));
        let (_, certificate) = devices.enrol(&secret, [1; 32], now, issue).unwrap();
        Self { ca, devices, name, key, certificate }
    }

    /// Gets it a new certificate, as a device does from time to time.
    pub(crate) fn renew(&mut self, now: WallTime) {
        let issue =
            |_: &DeviceName| Ok::<_, crate::devices::AdmissionError>(issue(&self.ca, &self.name, &self.key, now));
        (_, self.certificate) = self.devices.renew(&self.certificate, now, issue).unwrap();
    }
}

fn issue(ca: &Ca, name: &DeviceName, key: &KeyPair, now: WallTime) -> (Bytes, WallTime) {
    let request = CertificateParams::default().serialize_request(key).unwrap();
    let issued = ca.issue(name, CheckedRequest::parse(request.der()).unwrap(), now).unwrap();
    (issued.certificate, issued.expires)
}
