# Opens two persistent TAP devices as their unprivileged owner, as QEMUs would, and sends frames from the first to the
# second until one arrives. Then asks by ARP for the host's address given, which nobody may answer.
# Arguments: first device, second device, user id, the host's IPv4 address.
import fcntl, os, select, socket, struct, sys, time

first, second, user, host = sys.argv[1], sys.argv[2], int(sys.argv[3]), socket.inet_aton(sys.argv[4])
# Where there is no udev this file is root's alone; whose the devices are is asked below.
handles = [os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK) for _ in range(2)]
os.setgroups([])
os.setgid(user)
os.setuid(user)


def opened(name):
    # TUNSETIFF, IFF_TAP | IFF_NO_PI; linux/if_tun.h
    tap = handles.pop()
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))
    return tap


def received(tap, seconds, wanted):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([tap], [], [], left)[0] and wanted(frame := os.read(tap, 4096)):
            return frame
    return None


a, b = opened(first), opened(second)
mac_a, mac_b = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
begun = time.monotonic()
# 0x88b5 is for local experiments; IEEE 802.
frame = mac_b + mac_a + b"\x88\xb5" + b"through the switch".ljust(46, b"\0")
while True:
    try:
        os.write(a, frame)
    except OSError as error:
        print("write:", error, file=sys.stderr)
    if received(b, 0.02, lambda got: got == frame):
        break
    if time.monotonic() - begun > 30:
        sys.exit("no frame arrived within 30 s")
print(f"{(time.monotonic() - begun) * 1000:.0f} ms until a frame arrived")

ask = b"\xff" * 6 + mac_a + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1)
ask += mac_a + socket.inet_aton("10.0.0.1") + b"\0" * 6 + host
os.write(a, ask)
answer = received(a, 1.0, lambda got: got[12:14] == b"\x08\x06" and got[20:22] == b"\0\x02")
if answer is not None:
    sys.exit(f"the host answers to a guest: {answer.hex()}")
