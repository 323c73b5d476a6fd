"""A real S3 server for tests (moto), on loopback, which checks every signature: it has one user, whose keys it prints as JSON.

Ends when its standard input does."""

import json, os, sys

# Making the user, the key, the policy and the bucket are the four calls that need no signature yet.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
port = server._server.socket.getsockname()[1]
nobody = dict(
    endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="nobody", aws_secret_access_key="nothing")
iam = boto3.client("iam", **nobody)
iam.create_user(UserName="coordinator")
key = iam.create_access_key(UserName="coordinator")["AccessKey"]
iam.put_user_policy(
    UserName="coordinator", PolicyName="all",
    PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
boto3.client("s3", **nobody).create_bucket(Bucket="jobs")
print(json.dumps({"port": port, "access": key["AccessKeyId"], "secret": key["SecretAccessKey"]}), flush=True)
sys.stdin.read()
server.stop()
