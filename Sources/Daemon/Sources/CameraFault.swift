// What kind of fault a camera's error is. Any thread.

internal import Glibc
public import Pipeline
public import V4L2

extension V4L2Error: ClassifiedSourceError {
    /// By the error's number: taken, gone, or whatever else the driver refuses.
    public var fault: SourceFault {
        switch errno {
        case EBUSY: .busy
        case ENODEV, ENXIO, ENOENT: .absent
        default: .failed
        }
    }
}
