// libv4lconvert: conversion of the pixel formats that only exotic cameras send.
#ifndef LUCIDA_CLIBV4L_SHIM_H
#define LUCIDA_CLIBV4L_SHIM_H

#include <linux/videodev2.h>

#include <libv4lconvert.h>

#endif
