//! ```text
//! LoadJobRequest { mOptions: LoadJobPOptions (as its SerializedForm), mPath: String }
//!     --Java object serialization--> the bytes of submitJob.requestBody
//! ```
//! The master reads a load job with `ObjectInputStream`, so the request is written as a JVM would
//! write it: the stream grammar of the Java Object Serialization Specification, chapter 6, with
//! the class descriptors of Alluxio 2.9.6. The tests compare it with bytes written by a
//! JVM. Nothing here reads Java objects.

use super::AlluxioError;

const STREAM_HEADER: [u8; 4] = [0xac, 0xed, 0x00, 0x05];
const TC_NULL: u8 = 0x70;
const TC_REFERENCE: u8 = 0x71;
const TC_CLASSDESC: u8 = 0x72;
const TC_OBJECT: u8 = 0x73;
const TC_STRING: u8 = 0x74;
const TC_ARRAY: u8 = 0x75;
const TC_ENDBLOCKDATA: u8 = 0x78;
const SC_SERIALIZABLE: u8 = 0x02;
/// The handle of `Ljava/lang/String;`, the third thing in the stream that gets one.
const STRING_TYPE_HANDLE: [u8; 4] = [0x00, 0x7e, 0x00, 0x02];

const REQUEST_UID: [u8; 8] = [0xc7, 0x16, 0xbc, 0xd5, 0x5b, 0x62, 0x7e, 0x37];
const BYTE_ARRAY_UID: [u8; 8] = [0xac, 0xf3, 0x17, 0xf8, 0x06, 0x08, 0x54, 0xe0];

/// The body of a load request for `path` with `options`, an encoded `LoadJobPOptions`.
///
/// # Errors
/// `Invalid` if the path is longer than 65,535 bytes of modified UTF-8.
pub(super) fn request_body(options: &[u8], path: &str) -> Result<Vec<u8>, AlluxioError> {
    let path = modified_utf8(path);
    let path_length =
        u16::try_from(path.len()).map_err(|_| AlluxioError::invalid("a path of more than 65535 bytes"))?;
    let options_length =
        u32::try_from(options.len()).map_err(|_| AlluxioError::invalid("load options of more than 4 GiB"))?;
    let mut body = JavaStream(STREAM_HEADER.to_vec());
    body.object("alluxio.job.LoadJobRequest", REQUEST_UID, 2);
    body.field(b'L', "mOptions", "Lalluxio/grpc/LoadJobPOptions;");
    body.field(b'L', "mPath", "Ljava/lang/String;");
    body.end_of_class();
    body.object("com.google.protobuf.GeneratedMessageLite$SerializedForm", [0; 8], 3);
    body.field(b'[', "asBytes", "[B");
    body.field(b'L', "messageClass", "Ljava/lang/Class;");
    body.bytes(b"L").text("messageClassName");
    body.bytes(&[TC_REFERENCE]).bytes(&STRING_TYPE_HANDLE);
    body.end_of_class();
    body.bytes(&[TC_ARRAY]).class("[B", BYTE_ARRAY_UID, 0);
    body.end_of_class();
    body.bytes(&options_length.to_be_bytes()).bytes(options);
    // messageClass is null: the reader then finds the class by its name.
    body.bytes(&[TC_NULL, TC_STRING]).text("alluxio.grpc.LoadJobPOptions");
    body.bytes(&[TC_STRING]).bytes(&path_length.to_be_bytes()).bytes(&path);
    Ok(body.0)
}

struct JavaStream(Vec<u8>);

impl JavaStream {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A name of ours: ASCII and shorter than 256 bytes.
    fn text(&mut self, name: &'static str) -> &mut Self {
        let [.., low] = name.len().to_be_bytes();
        self.bytes(&[0, low]).bytes(name.as_bytes())
    }

    fn object(&mut self, class: &'static str, uid: [u8; 8], fields: u8) {
        self.bytes(&[TC_OBJECT]).class(class, uid, fields);
    }

    fn class(&mut self, name: &'static str, uid: [u8; 8], fields: u8) {
        self.bytes(&[TC_CLASSDESC]).text(name).bytes(&uid);
        self.bytes(&[SC_SERIALIZABLE, 0, fields]);
    }

    fn field(&mut self, kind: u8, name: &'static str, class: &'static str) {
        self.bytes(&[kind]).text(name).bytes(&[TC_STRING]).text(class);
    }

    /// No annotations and no serializable superclass.
    fn end_of_class(&mut self) {
        self.bytes(&[TC_ENDBLOCKDATA, TC_NULL]);
    }
}

/// Java's `writeUTF` encoding: NUL as two bytes, supplementary characters as two surrogates of
/// three bytes each, everything else as UTF-8.
fn modified_utf8(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        let mut units = [0_u16; 2];
        let mut utf8 = [0_u8; 4];
        match c {
            '\0' => out.extend_from_slice(&[0xc0, 0x80]),
            '\u{10000}'.. => {
                for unit in c.encode_utf16(&mut units) {
                    let [high, low] = unit.to_be_bytes();
                    let middle = (high & 0x0f) << 2 | low >> 6;
                    out.extend_from_slice(&[0xe0 | high >> 4, 0x80 | middle, 0x80 | (low & 0x3f)]);
                }
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a JVM begins to write a `LoadJobRequest`: everything before the options' length.
    const JVM_PREFIX: &str = "\
        aced00057372001a616c6c7578696f2e6a6f622e4c6f61644a6f6252657175657374c716bcd55b627e37020002\
        4c00086d4f7074696f6e7374001e4c616c6c7578696f2f677270632f4c6f61644a6f62504f7074696f6e733b4c\
        00056d506174687400124c6a6176612f6c616e672f537472696e673b787073720037636f6d2e676f6f676c652e\
        70726f746f6275662e47656e6572617465644d6573736167654c6974652453657269616c697a6564466f726d00\
        000000000000000200035b0007617342797465737400025b424c000c6d657373616765436c6173737400114c6a\
        6176612f6c616e672f436c6173733b4c00106d657373616765436c6173734e616d6571007e0002787075720002\
        5b42acf317f8060854e00200007870\
        ";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_body_begins_as_a_jvm_begins_it() {
        let body = hex(&request_body(&[], "/data").unwrap());
        assert_eq!(body.split_at(JVM_PREFIX.len()).0, JVM_PREFIX);
    }

    #[test]
    fn options_class_name_and_path_follow() {
        // bandwidth 1 MiB, verify, no partial listing, as a JVM encodes them.
        let options = [0x08, 0x80, 0x80, 0x40, 0x10, 0x01, 0x18, 0x00];
        let body = hex(&request_body(&options, "/d\u{e4}\0\u{20ac}\u{1f600}").unwrap());
        let class = hex(b"alluxio.grpc.LoadJobPOptions");
        // The last line was written by a JVM.
        let wanted = format!(
            "000000080880804010011800\
            7074001c{class}\
            74000f2f64c3a4c080e282aceda0bdedb880"
        );
        assert_eq!(body.split_at(JVM_PREFIX.len()).1, wanted);
    }

    #[test]
    fn a_path_that_java_cannot_hold_is_refused_before_it_is_sent() {
        let body = request_body(&[], &"\0".repeat(32_768));
        assert!(matches!(body, Err(AlluxioError::Invalid { .. })));
    }
}
