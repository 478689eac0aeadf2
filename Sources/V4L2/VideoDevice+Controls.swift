// Camera controls: listed, read, set by name. Control thread.

internal import CLinux

extension VideoDevice {
    // More than any camera has; a driver that counts in a circle must not hang us.
    private static let controlsMax = 512

    /// Every control that takes a number, a truth value or a menu item, in the driver's order.
    public func controls() -> [CameraControl] {
        var controls = [CameraControl]()
        var query = v4l2_queryctrl()
        query.id = CLINUX_V4L2_CTRL_FLAG_NEXT_CTRL
        for _ in 0..<Self.controlsMax {
            guard request(CLINUX_VIDIOC_QUERYCTRL, &query) >= 0 else { break }
            if let control = control(query) { controls.append(control) }
            query.id |= CLINUX_V4L2_CTRL_FLAG_NEXT_CTRL
        }
        return controls
    }

    /// The present value of the control `name`.
    public func controlValue(_ name: String) throws(V4L2Error) -> Int {
        var argument = v4l2_control()
        argument.id = try control(named: name).id
        try perform("read the control \(name)", CLINUX_VIDIOC_G_CTRL, &argument)
        return Int(argument.value)
    }

    /// Sets the control `name`, as listed by `lucida devices`.
    ///
    /// - Throws: `V4L2Error` that lists the controls there are, or the values this one takes.
    public func setControl(_ name: String, to value: ControlValue) throws(V4L2Error) {
        let control = try control(named: name)
        let number = try control.number(for: value, device: path)
        var argument = v4l2_control()
        argument.id = control.id
        argument.value = Int32(truncatingIfNeeded: number)
        let result = request(CLINUX_VIDIOC_S_CTRL, &argument)
        guard result < 0 else { return }
        throw V4L2Error(
            operation: "set the control \(name) to \(value)", errno: -result, device: path,
            advice: control.isInactive
                ? "an automatic control overrides it at present; switch that off first" : nil)
    }

    private func control(named name: String) throws(V4L2Error) -> CameraControl {
        let all = controls()
        let wanted = CameraControl.name(of: name)
        if let found = all.first(where: { $0.name == wanted }) { return found }
        let names = all.map(\.name).joined(separator: ", ")
        throw V4L2Error(
            operation: "find the control \(name)", errno: 0, device: path,
            advice: all.isEmpty ? "this device has no controls" : "it has \(names)")
    }

    private func control(_ query: v4l2_queryctrl) -> CameraControl? {
        guard query.flags & CLINUX_V4L2_CTRL_FLAG_DISABLED == 0 else { return nil }
        let kind: CameraControl.Kind
        switch query.type {
        case CLINUX_V4L2_CTRL_TYPE_INTEGER: kind = .integer
        case CLINUX_V4L2_CTRL_TYPE_BOOLEAN: kind = .boolean
        case CLINUX_V4L2_CTRL_TYPE_BUTTON: kind = .button
        case CLINUX_V4L2_CTRL_TYPE_BITMASK: kind = .bitmask
        case CLINUX_V4L2_CTRL_TYPE_MENU, CLINUX_V4L2_CTRL_TYPE_INTEGER_MENU:
            kind = .menu(menuItems(query))
        default: return nil
        }
        return CameraControl(
            id: query.id, label: text(query.name), kind: kind, minimum: Int(query.minimum),
            maximum: Int(query.maximum), step: Int(query.step),
            defaultValue: Int(query.default_value),
            isReadOnly: query.flags & CLINUX_V4L2_CTRL_FLAG_READ_ONLY != 0,
            isInactive: query.flags & CLINUX_V4L2_CTRL_FLAG_INACTIVE != 0)
    }

    private func menuItems(_ query: v4l2_queryctrl) -> [CameraControl.MenuItem] {
        let first = Int(query.minimum)
        let last = min(Int(query.maximum), first + 255)
        return stride(from: first, through: last, by: 1).compactMap { index in
            var item = v4l2_querymenu()
            item.id = query.id
            item.index = UInt32(truncatingIfNeeded: index)
            // Menus have holes: items this camera does not know.
            guard request(CLINUX_VIDIOC_QUERYMENU, &item) >= 0 else { return nil }
            let isInteger = query.type == CLINUX_V4L2_CTRL_TYPE_INTEGER_MENU
            return CameraControl.MenuItem(
                index: index, label: isInteger ? "\(item.value)" : text(item.name))
        }
    }
}
