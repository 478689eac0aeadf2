#!/usr/bin/env bash
# Makes what the virtual machine boots: kernel, v4l2loopback in three versions, initramfs.
#
# Everything lands in .build/vm/ and is kept; a second run takes a second. Debian packages are
# installed when this runs as root or sudo needs no password. Where that cannot be, it says so and
# exits with 77, which callers treat as "skip".
set -euo pipefail
cd "$(dirname "$0")/../.."
vm=$PWD/.build/vm
here=$PWD/Tests/VM
mkdir -p "$vm"

say() { echo "vm: $*" >&2; }
skip() {
    say "skipped: $*"
    exit 77
}

command -v apt-get >/dev/null || skip "this needs Debian's apt-get"
[ "$(dpkg --print-architecture)" = amd64 ] || skip "only amd64 is supported"

# How to become root, or nothing.
as_root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        as_root=(false)
    fi
fi

# --- 1. Packages of the running system -----------------------------------------------------------

# Runs a command of apt; if it fails, once more with fresh lists.
with_fresh_lists() {
    "$@" && return
    [ -e "$vm/apt-updated" ] && return 1
    touch "$vm/apt-updated"
    "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=600 -qq update >&2 ||
        say "apt-get update had errors; going on with the lists there are"
    "$@"
}

# The kernel that Debian's meta package stands for, for example 6.1.0-40-amd64. Once chosen it stays,
# so that headers, modules and image always belong together.
kernel_of_meta_package() {
    apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: linux-image-\([0-9][^ ]*\)$/\1/p' | grep -m 1 .
}
if [ -e "$vm/kernel-version" ]; then
    kernel=$(cat "$vm/kernel-version")
else
    kernel=$(with_fresh_lists kernel_of_meta_package) ||
        skip "apt knows no linux-image-amd64 (run apt-get update)"
    echo "$kernel" >"$vm/kernel-version"
fi

packages=(qemu-system-x86 busybox-static cpio kmod gcc make xz-utils "linux-headers-$kernel"
    python3-minimal v4l-utils ffmpeg chromium systemd udev dbus-daemon pipewire pipewire-bin
    wireplumber)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
        missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    [ "${as_root[0]:-}" != false ] ||
        skip "not root and no sudo; install these first: ${missing[*]}"
    say "installing ${missing[*]}"
    install_missing() {
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 \
            -y -qq install --no-install-recommends "${missing[@]}" >"$vm/apt.log" 2>&1
    }
    with_fresh_lists install_missing ||
        skip "apt-get could not install ${missing[*]} (see $vm/apt.log)"
fi

# --- 2. Kernel image, unpacked, not installed -----------------------------------------------------

image=$vm/image
modules=$image/lib/modules/$kernel
if [ ! -e "$vm/image.done" ]; then
    say "fetching linux-image-$kernel"
    mkdir -p "$vm/packages"
    download_image() (cd "$vm/packages" && apt-get -qq download "linux-image-$kernel" 2>/dev/null)
    with_fresh_lists download_image ||
        skip "apt-get could not download linux-image-$kernel"
    rm -rf "$image"
    dpkg -x "$vm/packages/linux-image-$kernel"_*.deb "$image"
    # The headers' build needs no modules of the image; the .deb ships no modules.dep.
    depmod -b "$image" "$kernel"
    touch "$vm/image.done"
fi
headers=/usr/src/linux-headers-$kernel

# --- 3. v4l2loopback 0.12.7, 0.13.2, 0.15.0 -------------------------------------------------------

# Runs apt with sources, lists and cache of its own: the system's are not touched.
private_apt() {
    local suite=$1 directory=$vm/apt-$1 mirror
    shift
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null |
        grep -E '/debian/?$' | head -n 1)
    mkdir -p "$directory"/{etc,lists/partial,cache/archives/partial}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "${mirror:-http://deb.debian.org/debian} $suite main" >"$directory/etc/sources.list"
    apt-get -qq -o Dir::Etc::SourceList="$directory/etc/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$directory/lists" \
        -o Dir::Cache="$directory/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# fetch_source VERSION SUITE: the driver's source of that Debian suite in .build/vm/v4l2loopback-VERSION.
fetch_source() {
    local version=$1 suite=$2 packages=$vm/packages/$1
    mkdir -p "$packages"
    if ! ls "$packages"/v4l2loopback-dkms_"$version"-*.deb >/dev/null 2>&1; then
        say "fetching v4l2loopback $version from $suite"
        (cd "$packages" && private_apt "$suite" update && private_apt "$suite" \
            download v4l2loopback-dkms 2>/dev/null) || return 1
        rm -rf "$vm/apt-$suite"
    fi
    dpkg -x "$packages"/v4l2loopback-dkms_"$version"-*.deb "$vm/v4l2loopback-$version"
}

build_loopback() {
    local version=$1 suite=$2 target=$vm/v4l2loopback-$1.ko source
    [ -e "$target" ] && return
    fetch_source "$version" "$suite" || skip "cannot fetch v4l2loopback $version from $suite"
    source=$vm/v4l2loopback-$version/usr/src/v4l2loopback-$version
    say "building v4l2loopback $version"
    make -C "$headers" M="$source" CONFIG_V4L2_LOOPBACK=m modules >"$vm/build-$version.log" 2>&1 ||
        skip "v4l2loopback $version does not build (see $vm/build-$version.log)"
    cp "$source/v4l2loopback.ko" "$target"
}
build_loopback 0.12.7 bookworm
build_loopback 0.13.2 bookworm-backports
build_loopback 0.15.0 trixie

# --- 4. initramfs ---------------------------------------------------------------------------------

# Only what it takes to mount the host's files; made again when its init changes.
if [ ! -e "$vm/initramfs.gz" ] || [ "$here/initramfs-init" -nt "$vm/initramfs.gz" ]; then
    root=$vm/initramfs
    rm -rf "$root"
    mkdir -p "$root"/{bin,proc,sys,dev,modules,host,share,top,new}
    cp "$(command -v busybox)" "$root/bin/busybox"
    cp "$here/initramfs-init" "$root/init"
    chmod +x "$root/init"
    # In load order, each once.
    for module in virtio_pci virtio_mmio 9pnet_virtio 9p overlay; do
        modprobe -d "$image" -S "$kernel" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r file; do
        cp "$file" "$root/modules/"
        basename "$file" >>"$root/modules/order"
    done
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -9) >"$vm/initramfs.gz"
fi

say "ready: kernel $kernel, v4l2loopback 0.12.7, 0.13.2, 0.15.0 in $vm"
