//! Structures shared with BPF programs as plain bytes.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A structure whose every byte pattern is valid and that has the layout of its C twin.
///
/// # Safety
/// The type is `#[repr(C)]`, holds only integers and arrays of integers, and has no padding.
pub unsafe trait Plain: Copy {}

// SAFETY: an integer takes any bytes.
unsafe impl Plain for u32 {}
// SAFETY: an integer takes any bytes.
unsafe impl Plain for u64 {}

/// Reads a structure; `None` when there are fewer bytes than it has.
pub fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as many bytes as T has are copied into it, and any bytes make a valid T.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), size_of::<T>());
        Some(value.assume_init())
    }
}

/// The bytes of a structure.
pub fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: T has no padding, so all its bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// An address as our C structures hold it: IPv4 in the first four bytes.
pub fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if i32::from(family) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_input_reads_nothing() {
        assert_eq!(read::<u64>(&[1, 0, 0]), None);
        assert_eq!(read::<u32>(&[1, 0, 0, 0, 9]), Some(1));
        assert_eq!(bytes(&7u32), [7, 0, 0, 0]);
    }
}
