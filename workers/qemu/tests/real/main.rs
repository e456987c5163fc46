//! What holds with the real QEMU and qemu-img. No guest needs an operating system; where QEMU isn't installed each test
//! says that it is skipped.

#[cfg(test)]
mod disk_images;
#[cfg(test)]
mod guest_agent;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod site;
