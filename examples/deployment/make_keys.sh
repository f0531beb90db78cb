#!/usr/bin/env bash
# Makes every key and certificate of a federation:
#
#     ./make_keys.sh FOLDER "FOG-NAME-OR-ADDRESS ..." DEVICE ...
#
# FOLDER/fog is the fog machine's /etc/rinr-flower, FOLDER/DEVICE that device's. FOLDER/ca.key stays off both.
# What is there is kept: run it again with more devices to add them, then copy FOLDER/fog/{devices.pub,nodes} again.
# Other names need a new certificate: it exits with 2 until FOLDER/fog/server.crt is deleted.
set -euo pipefail
umask 077
if [ $# -lt 3 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
folder=$1 names=$2
shift 2
curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
mkdir -p "$folder/fog/nodes"
cd "$folder"

# The authority that signs the SuperLink's certificate.
if [ ! -e ca.key ]; then
    openssl req -x509 -new "${curve[@]}" -days 3650 -subj "/CN=rinr-flower authority" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out fog/ca.crt 2>/dev/null
fi

# The SuperLink's certificate. It must hold every name that anyone connects to; 127.0.0.1 is what the superexec uses.
alternatives=DNS:localhost,IP:127.0.0.1
for name in $names; do
    kind=IP check=-checkip
    case $name in
        localhost | 127.0.0.1) continue ;;
        *:*) ;;
        *[!0-9.]*) kind=DNS check=-checkhost ;;
    esac
    alternatives+=,$kind:$name
    if [ -e fog/server.crt ] && ! openssl x509 -in fog/server.crt -noout $check "$name" | grep "does match" >/dev/null; then
        echo "$0: '$name' is not in $folder/fog/server.crt; for a new certificate delete that file, run this again with" \
            "every name, and copy $folder/fog/server.key and server.crt to the fog machine" >&2
        exit 2
    fi
done
if [ ! -e fog/server.crt ]; then
    openssl req -new "${curve[@]}" -subj "/CN=${names%% *}" -keyout fog/server.key -out server.csr 2>/dev/null
    printf '%s\n' "subjectAltName=$alternatives" extendedKeyUsage=serverAuth basicConstraints=CA:FALSE \
        subjectKeyIdentifier=hash authorityKeyIdentifier=keyid >server.ext
    openssl x509 -req -in server.csr -CA fog/ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" \
        -days 825 -extfile server.ext -out fog/server.crt 2>/dev/null
    rm server.csr server.ext
fi

# What only the SuperLink and its superexec know: without it a stranger could become the ServerApp.
[ -e fog/superexec.secret ] || openssl rand -hex 32 | tr -d '\n' >fog/superexec.secret

# Signatures over captures, payloads and updates: an Ed25519 pair for the fog and for every device.
[ -e fog/fog ] || ssh-keygen -q -t ed25519 -N "" -C fog -f fog/fog

for device in "$@"; do
    case $device in
        fog | *[!A-Za-z0-9._-]* | -* | .*)
            echo "$0: '$device' is no device's name: letters, digits, '.', '_' and '-', and not 'fog'" >&2
            exit 2
            ;;
    esac
    mkdir -p "$device"
    cp fog/ca.crt "$device/ca.crt"
    cp fog/fog.pub "$device/fog.pub"
    # Flower's node authentication takes elliptic curves only.
    [ -e "$device/node" ] || ssh-keygen -q -t ecdsa -b 384 -N "" -C "$device" -f "$device/node"
    [ -e "$device/device" ] || ssh-keygen -q -t ed25519 -N "" -C "$device" -f "$device/device"
    cp "$device/node.pub" "fog/nodes/$device.pub"
done
cat ./*/device.pub >fog/devices.pub

# What is no secret may be read by the machine's operator.
chmod 755 fog fog/nodes "$@"
chmod 644 ./*/*.crt ./*/*.pub fog/nodes/*.pub
