"""Checks a signed cargo with nothing of ours: the tar, the OCI layout, the Sigstore bundle and its DSSE envelope.

usage: verify_cargo.py FILE.cargo KEY.pub   prints the root digest and the claims, or fails
"""

import base64
import hashlib
import json
import sys
import tarfile

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


def main(path, key_path):
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}

    def blob(descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        data = files[f"blobs/{algorithm}/{digest}"]
        assert algorithm == "sha256" and hashlib.sha256(data).hexdigest() == digest, "a blob is not its digest"
        assert len(data) == descriptor["size"], "a blob has another size"
        return data

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    root = index["manifests"][0]
    blob(root)
    with open(key_path, "rb") as file:
        key = serialization.load_pem_public_key(file.read())
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    # What an oras-style reader does: referrers are the manifests whose subject is the root.
    referrers = []
    for descriptor in index["manifests"][1:]:
        manifest = json.loads(blob(descriptor))
        if manifest.get("subject", {}).get("digest") == root["digest"]:
            assert descriptor["artifactType"] == manifest["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
            assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json" and blob(manifest["config"]) == b"{}"
            assert manifest["annotations"]["dev.sigstore.bundle.content"] == "dsse-envelope"
            assert manifest["annotations"]["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"
            referrers.append(manifest)
    assert referrers, "the cargo is not signed"

    for manifest in referrers:
        (layer,) = manifest["layers"]
        assert layer["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        bundle = json.loads(blob(layer))
        # sigstore_bundle.proto in its JSON form, field by field.
        assert set(bundle) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
        assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert set(bundle["verificationMaterial"]) == {"publicKey"}
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        envelope = bundle["dsseEnvelope"]
        assert set(envelope) == {"payload", "payloadType", "signatures"} and len(envelope["signatures"]) == 1
        assert set(envelope["signatures"][0]) == {"sig"}
        if hint != base64.b64encode(hashlib.sha256(spki).digest()).decode():
            continue
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"].encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        statement = json.loads(payload)
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://sigstore.dev/cosign/sign/v1" and statement["predicate"] == {}
        (subject,) = statement["subject"]
        assert "sha256:" + subject["digest"]["sha256"] == root["digest"]
        claims = subject["annotations"]
        print(root["digest"], claims["dev.longshore.name"], claims["dev.longshore.version"])
        return
    raise SystemExit("no signature by this key")


if __name__ == "__main__":
    main(*sys.argv[1:])
