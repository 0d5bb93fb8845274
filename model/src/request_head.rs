//! Where the head of an HTTP request ends. Agent and hub close connections whose request never gets so far; the server library
//! tells of a request only when it is whole.

/// How much of a head has come: it ends with an empty line.
#[derive(Debug, Default)]
pub struct RequestHead {
    begun: bool,
    line_ends: u8,
}

impl RequestHead {
    /// Whether some of it is here, and not all.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether it is whole with these bytes; the next one begins then. Empty lines before it are none of it (RFC 9112, 2.2).
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' if self.begun => self.line_ends += 1,
                b'\n' => {}
                _ => (self.begun, self.line_ends) = (true, 0),
            }
            if self.line_ends == 2 {
                *self = Self::default();
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_with_its_empty_line_however_it_comes() {
        let mut head = RequestHead::default();
        assert!(!head.take(b"\r\n\r\n") && !head.has_begun(), "empty lines before it");
        for byte in b"GET / HTTP/1.1\r\nHost: h\r\n\r" {
            assert!(!head.take(&[*byte]) && head.has_begun());
        }
        assert!(head.take(b"\n") && !head.has_begun());
        assert!(head.take(b"GET / HTTP/1.1\n\n"), "bare line feeds, and the next one");
    }
}
