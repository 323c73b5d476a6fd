internal import CCrypto
public import CargoSigning

/// Private keys under a passphrase: PKCS#8 `EncryptedPrivateKeyInfo` (RFC 5958) as OpenSSL reads and writes it.
public enum ProtectedKey {
    /// PBKDF2 rounds of what is written, some tenths of a second of one core; whoever steals the file pays them for
    /// every guess.
    static let rounds: Int32 = 600_000
    /// Bytes of salt.
    static let salt: Int32 = 16

    /// Opens the DER of an `ENCRYPTED PRIVATE KEY` block, whatever scheme this machine's OpenSSL knows.
    public static func open(_ der: [UInt8], with passphrase: Passphrase) throws -> SigningKey {
        let sealed = der.withUnsafeBufferPointer { bytes in
            var at = bytes.baseAddress
            return d2i_X509_SIG(nil, &at, bytes.count)
        }
        guard let sealed else { throw KeyFailure("the key file is broken: it is no PKCS#8 EncryptedPrivateKeyInfo") }
        defer { X509_SIG_free(sealed) }
        let opened = passphrase.withCharacters { PKCS8_decrypt(sealed, $0.baseAddress, Int32($0.count)) }
        guard let opened else { throw KeyFailure("the passphrase does not open the key") }
        defer { PKCS8_PRIV_KEY_INFO_free(opened) }
        return try SigningKey(pkcs8: encoded { i2d_PKCS8_PRIV_KEY_INFO(opened, $0) })
    }

    /// The DER of an `ENCRYPTED PRIVATE KEY` block: PBES2 with PBKDF2 (HMAC-SHA-256) and AES-256-CBC (RFC 8018).
    public static func seal(_ key: SigningKey, with passphrase: Passphrase) throws -> [UInt8] {
        let der = key.pkcs8
        let plain = der.withUnsafeBufferPointer { bytes in
            var at = bytes.baseAddress
            return d2i_PKCS8_PRIV_KEY_INFO(nil, &at, bytes.count)
        }
        guard let plain else { throw KeyFailure("OpenSSL does not take the key; use a newer one") }
        defer { PKCS8_PRIV_KEY_INFO_free(plain) }
        guard let scheme = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), rounds, nil, salt, nil, NID_hmacWithSHA256) else {
            throw KeyFailure("this machine's OpenSSL has neither AES-256 nor PBKDF2; use another one")
        }
        // Takes `scheme` over when it succeeds.
        let sealed = passphrase.withCharacters { PKCS8_set0_pbe($0.baseAddress, Int32($0.count), plain, scheme) }
        guard let sealed else {
            X509_ALGOR_free(scheme)
            throw KeyFailure("OpenSSL could not encrypt the key")
        }
        defer { X509_SIG_free(sealed) }
        return encoded { i2d_X509_SIG(sealed, $0) }
    }

    /// What one of OpenSSL's encoders writes: it says the length when there is no place to write to.
    private static func encoded(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        let count = Int(max(encode(nil), 0))
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, written in
            var at = buffer.baseAddress
            written = count > 0 ? Int(max(encode(&at), 0)) : 0
        }
    }
}
