// libv4lconvert: conversion of the pixel formats that only exotic cameras send.
#ifndef LUCIDA_CLIBV4L_SHIM_H
#define LUCIDA_CLIBV4L_SHIM_H

// First, so that the structures of <linux/videodev2.h> belong to CLinux and to nobody else.
#include "CLinux.h"

#include <libv4lconvert.h>

#endif
