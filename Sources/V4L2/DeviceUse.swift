// Who uses a device now, found out without disturbing them. Control thread.

internal import CLinux
internal import Glibc

/// Who writes to a v4l2loopback device.
enum LoopbackWriter: Sendable, Equatable {
    /// Nobody, as far as the driver tells.
    case nobody
    /// A Lucida, which holds the advisory lock.
    case lucida
    /// A program that is not ours.
    case otherProgram
}

extension VideoDevice {
    /// Whether another program holds the camera's buffers. The driver refuses us then; otherwise
    /// this frees the buffers that we do not have.
    var isCameraInUse: Bool {
        var request = v4l2_requestbuffers()
        request.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        request.memory = CLINUX_V4L2_MEMORY_MMAP
        return self.request(CLINUX_VIDIOC_REQBUFS, &request) == -EBUSY
    }

    /// Who writes to this loopback, apart from this descriptor. May take a quarter of a second.
    func loopbackWriter() -> LoopbackWriter {
        guard clinux_try_lock(descriptor) >= 0 else { return .lucida }
        _ = clinux_unlock(descriptor)
        return isWrittenByOthers() ? .otherProgram : .nobody
    }

    /// As `loopbackWriter`, for a device that is locked by us or by nobody. Read in the drivers'
    /// sources and tried on 0.12.7, 0.13.2 and 0.15.0:
    ///
    /// - From 0.14 on the output side has one owner, who loses it by closing or dying, and STREAMOFF
    ///   of anybody else does nothing but tell: EBUSY if there is an owner.
    /// - Before, STREAMOFF of anybody counts, so it must not be tried. They are told apart by
    ///   QUERYBUF, which then describes the driver's buffers to everyone, later only to owners.
    /// - Before, with exclusive_caps=1, OUTPUT disappears when somebody writes, and CAPTURE without
    ///   keep_format only lasts while somebody has the device open.
    /// - With both or with a kept format (a Lucida that died leaves one) this is not enough, and we
    ///   watch whether the buffers change. A program that writes fewer than four pictures a second
    ///   or pauses is then taken for nobody.
    func isWrittenByOthers() -> Bool {
        guard let before = bufferStamps() else {
            var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT)
            return request(CLINUX_VIDIOC_STREAMOFF, &type) == -EBUSY
        }
        var answer = v4l2_capability()
        guard request(CLINUX_VIDIOC_QUERYCAP, &answer) >= 0 else { return false }
        let capabilities = DeviceCapabilities(answer)
        guard capabilities.isCapture else { return false }
        if !capabilities.isOutput, (try? controlValue("keep_format")) == 0 { return true }
        return isChanging(from: before)
    }

    /// Whether anybody, through whatever descriptor, writes now: a writer's own descriptor sees the
    /// driver's buffers on every version. Takes a quarter of a second.
    func isWritten() -> Bool {
        guard let before = bufferStamps() else { return false }
        return isChanging(from: before)
    }

    private func isChanging(from before: [[Int]]) -> Bool {
        usleep(250_000)
        return bufferStamps() != before
    }

    /// Number and time of the picture in each of the driver's buffers; nil if it does not tell.
    private func bufferStamps() -> [[Int]]? {
        var stamps = [[Int]]()
        for index in 0..<UInt32(LoopbackOutput.bufferCountMax) {
            var buffer = v4l2_buffer()
            buffer.index = index
            buffer.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
            buffer.memory = CLINUX_V4L2_MEMORY_MMAP
            guard request(CLINUX_VIDIOC_QUERYBUF, &buffer) >= 0 else { break }
            stamps.append([
                Int(buffer.sequence), buffer.timestamp.tv_sec, buffer.timestamp.tv_usec,
            ])
        }
        return stamps.isEmpty ? nil : stamps
    }
}
